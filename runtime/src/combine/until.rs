//! A context that ends its body when something happens.

use std::fmt;
use std::future::Future;

use crate::context::AsyncContext;
use crate::generator::generator;

/// A context whose body ends when this future ends: for example, when Ctrl-C is pressed, or when a
/// peer hangs up. The future's output becomes the body's error.
///
/// When the future ends, the body drops, and contexts inside the body exit as cancelled. Then the
/// caller gets the error. If the body ends first, the future drops.
///
/// ```
/// use async_context_manager::{prelude::*, until};
/// use std::future::pending;
/// use tokio::sync::oneshot;
///
/// #[derive(Debug, PartialEq)]
/// struct Stopped;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (stop, stopped) = oneshot::channel::<()>();
/// let told = async {
///     stopped.await.ok();
///     Stopped
/// };
/// stop.send(()).unwrap();
/// let result = until(told).with(async |()| pending::<Result<(), _>>().await).await;
/// assert_eq!(result, Err(Stopped));
/// # }
/// ```
///
/// If the future's output is `()`, [`map_err`](crate::AsyncContextExt::map_err) turns it into an
/// error: `until(token.cancelled_owned()).map_err(|()| AppError::Stopped)`.
///
/// # Errors
///
/// The output of the future, if the future ends before the body.
pub fn until<F>(future: F) -> impl AsyncContext<Value = (), Error = F::Output, Verdict = ()>
where
    F: Future<Output: fmt::Debug + Send + Sync + 'static> + Send,
{
    let name = "async_context_manager::until";
    generator(name, async move |lender| -> Result<(), F::Output> {
        lender.yield_beside((), async { Err(future.await) }).await;
        Ok(())
    })
}
