//! The timer of a context that stays open for a while without users.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::Handle;

use super::generation::Generation;
use crate::detached::Lingering as _;
use crate::fallback;
use crate::panic::drop_payload;
use crate::time_limit::{self, Timer};

/// Starts the timer on the runtime that the last user was on. If that runtime shuts down, the
/// context closes at once.
pub(super) fn start<V, E>(generation: &Arc<Generation<V, E>>)
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    let timed = Timed(Some(Arc::clone(generation)));
    // A use of the context must not fail because the runtime has no timer.
    let has_timer = catch_unwind(AssertUnwindSafe(time_limit::check_timer))
        .map_err(drop_payload)
        .is_ok();
    let here = Handle::try_current().ok().filter(|_| has_timer);
    match here.or_else(fallback::runtime) {
        Some(runtime) => drop(runtime.spawn(timed.run())),
        None => drop(timed),
    }
}

/// `None` once the timer has ended.
struct Timed<V, E>(Option<Arc<Generation<V, E>>>)
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static;

impl<V, E> Timed<V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    async fn run(mut self) {
        if let Some(generation) = &self.0 {
            wait(generation).await;
        }
        self.0 = None;
    }
}

/// Closes the context when its time is over. Returns if the context is in use again, or was closed.
async fn wait<V, E>(generation: &Generation<V, E>)
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    loop {
        // Created before the look at the state: otherwise a change between the two would be missed.
        let mut changed = pin!(generation.changed());
        let Some(left) = generation.lingers_for() else {
            return;
        };
        if left.is_zero() {
            generation.close();
            continue;
        }
        let mut timer = Timer::new(left);
        poll_fn(|cx| match changed.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => timer.poll(cx),
        })
        .await;
    }
}

impl<V, E> Drop for Timed<V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if let Some(generation) = self.0.take() {
            generation.lose_timer();
        }
    }
}
