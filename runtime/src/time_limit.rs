//! Time limits for futures, on the timer of the runtime or, if there is no runtime, of this crate's
//! thread.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::unconstrained;
use tokio::time::{self, Instant};

use crate::fallback;

/// Runs the future for at most this time. Returns `None` if it has not ended by then.
///
/// # Panics
///
/// If the tokio runtime has no timer.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = Timer::new(limit);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await
}

/// Checks that a timer exists. The caller does so before it begins something that only a timer
/// ends.
///
/// # Panics
///
/// If the tokio runtime has no timer.
pub(crate) fn check_timer() {
    drop(Timer::new(Duration::ZERO));
}

/// A timer of the runtime that it is created on or, if there is none, of this crate's thread.
pub(crate) struct Timer {
    /// `None` if the limit is too long to ever be reached.
    deadline: Option<Instant>,
    on_fallback: bool,
    /// `None` if nothing can measure the time.
    sleep: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Timer {
    pub(crate) fn new(limit: Duration) -> Self {
        let mut timer = Self {
            deadline: Instant::now().checked_add(limit),
            on_fallback: false,
            sleep: None,
        };
        timer.start();
        timer
    }

    fn start(&mut self) {
        self.on_fallback = fallback::is_here();
        let Some(deadline) = self.deadline else {
            return;
        };
        let Some(runtime) = Handle::try_current().ok().or_else(fallback::runtime) else {
            return;
        };
        let _there = runtime.enter();
        // Unconstrained, because a future that uses up the task's budget in each poll must not
        // delay the timer.
        self.sleep = Some(Box::pin(unconstrained(time::sleep_until(deadline))));
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An exit that has moved to the thread of this crate needs a new timer, because the timer
        // of a runtime that has shut down panics.
        if fallback::is_here() != self.on_fallback {
            self.start();
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
