//! Replaces the runtime's module of this name, whose code belongs to tokio's own tasks. It has no
//! story here.

/// See the runtime's trait.
pub trait Carry: Send + 'static {
    /// The attached value.
    type Carried: Send + 'static;

    /// Returns what is attached now.
    fn capture(self) -> Option<Self::Carried>;

    /// Calls the function while the carried value is attached.
    fn attach<T>(carried: &Self::Carried, poll: impl FnOnce() -> T) -> T;
}

/// The error that an outcome looks into.
#[derive(Debug)]
pub enum CarryError<E> {
    /// Nothing was attached.
    NotSet,
    /// The context's own error, or the body's.
    Context(E),
}
