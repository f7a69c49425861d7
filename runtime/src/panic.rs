//! Panics that are caught, to be resumed later or reported.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

pub(crate) type Payload = Box<dyn Any + Send>;

pub(crate) fn catch<F: Future>(future: F) -> Catch<F> {
    Catch { future }
}

pin_project! {
    /// The future that [`catch`] returns. An `async fn` would hold the inner future twice, at each
    /// level of nesting.
    pub(crate) struct Catch<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Catch<F> {
    type Output = Result<F::Output, Payload>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}

#[inline]
pub(crate) fn resume<T>(caught: Result<T, Payload>) -> T {
    caught.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Drops a value of the user, and catches a panic in its `Drop`.
pub(crate) fn drop_caught<T>(value: T) -> Result<(), Payload> {
    catch_unwind(AssertUnwindSafe(move || drop(value)))
}

/// Drops a payload. If this drop panics, the second payload is forgotten, because a chain of
/// payloads that panic in their drop might never end.
pub(crate) fn drop_payload(payload: Payload) {
    if let Err(second) = drop_caught(payload) {
        std::mem::forget(second);
    }
}
