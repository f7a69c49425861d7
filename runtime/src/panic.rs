//! Panics that are caught, to go on later or to be reported.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::report::{self, Kind};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs the future, catches its panic, and drops it before returning.
pub(crate) async fn catch<F: Future>(future: F) -> Result<F::Output, Payload> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => Poll::Ready(Err(payload)),
        },
    )
    .await
}

/// Drops what belongs to a user; a panic in its `Drop` is reported.
pub(crate) fn drop_quietly<T>(context: &'static str, value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
        report::panic(context, Kind::Panicked, payload);
    }
}
