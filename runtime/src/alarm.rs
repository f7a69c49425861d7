//! A timer that tells when the wait of an exit has lasted long, or the exit itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::panic::drop_payload;
use crate::report;
use crate::time_limit::Timer;

/// Goes off once. [`new`](Alarm::new) makes one for a wait, with the limit of
/// [`set_wait_limit`](report::set_wait_limit).
pub(crate) struct Alarm(Option<Timer>);

impl Alarm {
    pub(crate) fn new() -> Self {
        report::wait_limit().map_or(Self(None), Self::after)
    }

    /// Goes off after this time. Never, where there is no timer.
    pub(crate) fn after(limit: Duration) -> Self {
        // A tokio runtime may have no timer, and that is no reason for a wait to fail.
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
