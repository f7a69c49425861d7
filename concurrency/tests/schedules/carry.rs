//! The error that an outcome looks into. What carries is of tokio's own tasks, and has no story
//! here.

pub(crate) enum CarryError<E> {
    NotSet,
    Context(E),
}
