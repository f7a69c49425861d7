//! An open value, and a function that closes it.

use std::fmt;

use crate::body::SendBody;
use crate::context::AsyncContext;
use crate::generator::generator;

/// A context that lends this value, and closes it with this function, however the body ends:
/// Python's `contextlib.aclosing(value)`.
///
/// The closing function gets the value itself, so it can call methods that consume the value. The
/// function does not see the outcome. If the closing function must see the outcome, write a context
/// under [`#[async_context]`](macro@crate::async_context) instead.
///
/// ```
/// use async_context_manager::{contexts::closing, prelude::*};
/// use std::io;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let (here, mut there) = tokio::io::duplex(64);
/// closing(here, async |mut here| here.shutdown().await)
///     .with(async |here| here.write_all(b"hello").await)
///     .await?;
/// let mut heard = String::new();
/// there.read_to_string(&mut heard).await?; // ends: the other side was shut down
/// assert_eq!(heard, "hello");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The closing function's error is the error of exit.
pub fn closing<V, E, F>(value: V, close: F) -> impl AsyncContext<Value = V, Error = E, Verdict = ()>
where
    V: Send,
    E: fmt::Debug + Send + Sync + 'static,
    F: SendBody<V, Result<(), E>>,
{
    let name = std::any::type_name::<F>();
    generator(name, async move |lender| -> Result<(), E> {
        let (value, _) = lender.yield_(value).await;
        close(value).await
    })
}
