//! The error that an outcome looks into. The code that carries errors belongs to tokio's own tasks,
//! and has no story here.

pub(crate) enum CarryError<E> {
    NotSet,
    Context(E),
}
