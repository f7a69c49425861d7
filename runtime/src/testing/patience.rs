//! How long a test waits for a program that may never go on.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::unconstrained;
use tokio::time::sleep;

use crate::detached;
use crate::fallback;

/// The limit in milliseconds.
static LIMIT: AtomicU64 = AtomicU64::new(60_000);

/// Sets how long the functions of this module wait, in real time, for a program that nothing wakes,
/// and for exits in the background. The time is a minute unless this function is called. The
/// setting is for the whole process.
///
/// Use it for a program that hangs on purpose, or that waits for something slower.
///
/// ```
/// async_context_manager::testing::set_patience(std::time::Duration::from_secs(300));
/// ```
pub fn set_patience(limit: Duration) {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    LIMIT.store(limit, Ordering::Relaxed);
}

/// Measures real time on the thread of this crate, because the clock of the test's own runtime may
/// be paused.
pub(super) struct Patience {
    limit: Duration,
    since: Instant,
    /// `None` if the system has no thread for it.
    alarm: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Patience {
    pub(super) fn new() -> Self {
        let limit = Duration::from_millis(LIMIT.load(Ordering::Relaxed));
        Self {
            limit,
            since: Instant::now(),
            alarm: alarm(limit),
        }
    }

    /// Restarts the time, because something has happened.
    pub(super) fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// Returns the limit once the time is over. Until then, makes sure that the task is woken when
    /// the time is over.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        while self.alarm.as_mut()?.as_mut().poll(cx).is_ready() {
            let left = self.limit.saturating_sub(self.since.elapsed());
            if left.is_zero() {
                return Some(self.limit);
            }
            self.alarm = alarm(left);
        }
        None
    }
}

fn alarm(after: Duration) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
    let runtime = fallback::runtime()?;
    let _there = runtime.enter();
    Some(Box::pin(unconstrained(sleep(after))))
}

/// Waits until no exit is running in the background.
///
/// # Panics
///
/// If the exits take too long.
pub(super) async fn drain() {
    let mut drained = pin!(detached::drain());
    let mut patience = Patience::new();
    poll_fn(|cx| {
        if drained.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Some(limit) = patience.poll_end(cx) {
            let count = detached::count();
            panic!("{limit:?} after the program has gone, {count} of its exits have not ended");
        }
        Poll::Pending
    })
    .await;
}
