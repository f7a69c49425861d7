//! A function to call at the end.

use std::fmt;

use crate::body::SendBody;
use crate::context::AsyncContext;
use crate::generator::generator;
use crate::outcome::Outcome;

/// A context that calls this function with the outcome when it exits, and does nothing else:
/// Python's `AsyncExitStack.push_async_callback`, without a stack.
///
/// The function cannot suppress an error. To suppress errors, use [`suppress`](crate::suppress), or
/// a context of your own.
///
/// ```
/// use async_context_manager::{contexts::defer, prelude::*};
/// use std::io;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let path = std::env::temp_dir().join(format!("defer-{}.txt", std::process::id()));
/// let remove = path.clone();
/// let length = defer(async move |_: &Outcome| tokio::fs::remove_file(remove).await)
///     .with(async |()| {
///         tokio::fs::write(&path, "scratch").await?;
///         Ok(tokio::fs::read(&path).await?.len())
///     })
///     .await?;
/// assert_eq!(length, 7);
/// assert!(!path.exists());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The function's error is the error of exit.
pub fn defer<E, F>(call: F) -> impl AsyncContext<Value = (), Error = E, Verdict = ()>
where
    E: fmt::Debug + Send + Sync + 'static,
    F: for<'o> SendBody<&'o Outcome, Result<(), E>>,
{
    let name = std::any::type_name::<F>();
    generator(name, async move |lender| -> Result<(), E> {
        let ((), outcome) = lender.yield_(()).await;
        call(outcome).await
    })
}
