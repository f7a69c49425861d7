//! What a function under [`#[async_context]`](macro@crate::async_context) becomes: a call of
//! [`generator`], with the function's code. The compiler's messages name what is in here; a program need
//! not.
//!
//! ```
//! use async_context_manager::generator::generator;
//! use async_context_manager::prelude::*;
//!
//! fn list(first: u32) -> impl AsyncContext<Value = Vec<u32>, Error = String, Verdict = ()> {
//!     generator("list", async move |lender| -> Result<(), String> {
//!         let (list, _outcome) = lender.yield_(vec![first]).await;
//!         drop(list);
//!         Ok(())
//!     })
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! assert_eq!(list(1).with(async |list| Ok(list.len())).await, Ok(1));
//! # }
//! ```

pub use crate::cancellable::Cancellable;
pub use crate::coroutine::{Generator, Lender, Yield, generator};

/// A `Result`, under whatever alias: what a function under
/// [`#[async_context]`](macro@crate::async_context) returns. Implemented for `Result` alone.
///
/// ```
/// use async_context_manager::generator::IsResult;
/// use std::io;
///
/// fn is_the_error_of<R: IsResult<Error = E>, E>(_: E) {}
/// is_the_error_of::<io::Result<u32>, _>(io::Error::other("no"));
/// ```
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
