//! What a function under [`#[async_context]`](macro@crate::async_context) becomes: a call of
//! [`generator`], with the function's code. The compiler's messages name what is in here; a program need
//! not.

pub use crate::cancellable::Cancellable;
pub use crate::coroutine::{Generator, Lender, generator};

/// A `Result`, under whatever alias: what a function under
/// [`#[async_context]`](macro@crate::async_context) returns. Implemented for `Result` alone.
#[diagnostic::on_unimplemented(
    message = "an async context returns a `Result`, but this is `{Self}`",
    label = "not a `Result`",
    note = "write `-> Result<Value, Error>`: the value it lends, and the error of enter and exit"
)]
pub trait IsResult {
    /// The type of the value that the context lends.
    type Value;
    /// The error of enter and exit.
    type Error;
}

impl<V, E> IsResult for Result<V, E> {
    type Value = V;
    type Error = E;
}
