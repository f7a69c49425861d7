//! A context that ends its body when something happens.

use std::fmt;
use std::future::Future;

use crate::context::AsyncContext;
use crate::generator::generator;

/// A context whose body ends when this future ends: a token is told, Ctrl-C is pressed, a peer
/// hangs up. What the future gives is the error that the body ends with.
///
/// The body drops then, and contexts inside of it exit as cancelled before the caller has the
/// error. A body that ends first drops the future.
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
/// Where the future gives `()`, [`map_err`](crate::AsyncContextExt::map_err) makes an error of it:
/// `until(token.cancelled_owned()).map_err(|()| AppError::Stopped)`.
///
/// # Errors
///
/// What the future gives, if it ends before the body.
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
