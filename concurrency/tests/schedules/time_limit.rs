//! Replaces the runtime's module of this name. Time does not pass here. A limit below a second is
//! reached after as many polls as it has milliseconds, and no other limit is reached.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = Timer::new(limit);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await
}

pub(crate) fn check_timer() {}

pub(crate) struct Timer {
    /// The number of polls until the limit is reached. `None` if it is never reached.
    left: Option<u128>,
}

impl Timer {
    pub(crate) fn new(limit: Duration) -> Self {
        let left = limit.as_millis();
        Self {
            left: (left < 1000).then_some(left),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.left {
            None => Poll::Pending,
            Some(0) => Poll::Ready(()),
            Some(left) => {
                *left -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
