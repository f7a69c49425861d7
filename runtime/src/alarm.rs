//! A timer that tells when the wait of an exit has lasted long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, ready};

use crate::panic::drop_payload;
use crate::report;
use crate::time_limit::Timer;

/// Goes off once, when the wait that it was made for has reached the limit of
/// [`set_wait_limit`](report::set_wait_limit).
pub(crate) struct Alarm(Option<Timer>);

impl Alarm {
    pub(crate) fn new() -> Self {
        let Some(limit) = report::wait_limit() else {
            return Self(None);
        };
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
