//! A timer that tells when an exit, or its wait for others, has lasted too long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::panic::drop_payload;
use crate::report;
use crate::time_limit::Timer;

/// A timer that goes off once. [`new`](Alarm::new) makes an alarm for a wait, with the limit of
/// [`set_wait_limit`](report::set_wait_limit).
pub(crate) struct Alarm(Option<Timer>);

impl Alarm {
    pub(crate) fn new() -> Self {
        report::wait_limit().map_or(Self(None), Self::after)
    }

    /// Returns an alarm that goes off after this time, or never, if there is no timer.
    pub(crate) fn after(limit: Duration) -> Self {
        // A wait must not fail because the tokio runtime has no timer.
        let timer = catch_unwind(AssertUnwindSafe(|| Timer::new(limit)));
        Self(timer.map_err(drop_payload).ok())
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.0 else {
            return Poll::Pending;
        };
        ready!(timer.poll(cx));
        self.0 = None;
        Poll::Ready(())
    }
}
