//! Exits that go on in the background, because nobody waits for them any more.
//!
//! When the future that uses a context is dropped (a timeout, a `select!`, an aborted task, a client
//! that hung up), its coroutine is handed over to the tokio runtime that it was entered on, and
//! exits there with [`Outcome::Cancelled`]. Whoever needs to know that this has happened, a `main`
//! above all, waits for it:
//!
//! ```
//! use async_context_manager::detached;
//!
//! # async fn app() {}
//! #[tokio::main]
//! async fn main() {
//!     detached::drained(app()).await;
//! }
//! ```
//!
//! What can't be handed over to its own runtime (there was none, or it has shut down) runs on a
//! thread of this crate; after a shutdown, for five seconds at the most, and what is not done by then
//! is reported as [`Lost`](Kind::Lost). A process that ends does not wait for that thread: a `main`
//! that builds its own runtime ends with [`drain_blocking`].

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::context::Verdict;
use crate::coroutine::{Code, Coroutine};
use crate::fallback;
use crate::order::{Covers, InnerExits, Listing};
use crate::outcome::Outcome;
use crate::panic::{Payload, catch, drop_quietly};
use crate::report::{self, Kind};

/// All exits that are detached now.
static DETACHED: LazyLock<TaskTracker> = LazyLock::new(|| {
    let tracker = TaskTracker::new();
    // "Closed" lets `wait` end; it does not keep out what comes later.
    tracker.close();
    tracker
});

/// How many exits are running in the background now.
#[must_use]
pub fn count() -> usize {
    DETACHED.len()
}

/// Waits until no exit is running in the background.
///
/// Other parts of the program may hand over new ones meanwhile; they are waited for as well. What is
/// still in use is not: a task that goes on, or one that was aborted and not joined, hands over its
/// exits when it drops them. Join the tasks first.
///
/// Inside of an enter or an exit it would wait for itself: don't call it there.
///
/// # Cancel safety
///
/// Giving up waiting changes nothing about the exits.
pub async fn drain() {
    // A wait ends when there was none for a moment.
    while count() > 0 {
        DETACHED.wait().await;
    }
}

/// Waits as [`drain`] does, for no longer than `limit`, and says how many exits are left.
///
/// Call it on a tokio runtime with its timer enabled; elsewhere there is [`drain_blocking`].
///
/// # Panics
///
/// Outside of a tokio runtime, or on one without a timer, as `tokio::time::timeout` does.
pub async fn drain_timeout(limit: Duration) -> usize {
    match tokio::time::timeout(limit, drain()).await {
        Ok(()) => 0,
        Err(_) => count(),
    }
}

/// Blocks the thread as [`drain`] waits, for no longer than `limit`, and says how many are left.
///
/// For a `main` whose runtime is gone. On a thread of a runtime that is still running the exits it
/// would drive can't go on meanwhile, nor those on a current-thread runtime that nobody drives: use
/// [`drain`] there.
#[expect(clippy::must_use_candidate, reason = "waiting is the point")]
pub fn drain_blocking(limit: Duration) -> usize {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut drained = pin!(drain());
    let begun = Instant::now();
    while drained.as_mut().poll(&mut cx).is_pending() {
        let Some(left) = limit.checked_sub(begun.elapsed()) else {
            return count();
        };
        thread::park_timeout(left);
    }
    0
}

/// Runs the future, and then waits as [`drain`] does: a `main` that is wrapped in it loses nothing
/// that its future, or a task that has ended, has left behind. Also where the future panics: the panic
/// goes on after the wait.
///
/// Tasks that are still there when the future ends are not covered: join them before, or drop the
/// runtime and then call [`drain_blocking`].
///
/// A signal such as Ctrl-C ends the process on the spot, unless the program handles it: let the
/// future end at it, with a `select!` over `tokio::signal::ctrl_c()`, and everything that the
/// `select!` drops is exited before `drained` returns.
///
/// # Cancel safety
///
/// Dropped, it drops the future; what that hands over goes on in the background.
pub fn drained<F: Future>(future: F) -> impl Future<Output = F::Output> {
    // In a box: the future of a whole program is large.
    let mut future = Box::pin(catch(future));
    async move {
        let ended = future.as_mut().await;
        drop(future);
        drain().await;
        ended.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

/// Takes over a coroutine whose holder has gone. `value` is there if it was lent to the body.
pub(crate) fn hand_over<V, D, E>(
    mut coroutine: Coroutine<V, Code<D, E>>,
    value: Option<V>,
    covers: Covers,
    runtime: Option<Handle>,
) where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    let name = coroutine.name();
    let is_forgotten = value.is_none() && coroutine.is_lent();
    if is_forgotten {
        // A lease of it never came back: there is nothing to exit with.
        report::plain(name, Kind::NotRun);
    }
    if is_forgotten || coroutine.is_cancellable() {
        return drop_quietly(name, coroutine);
    }
    if let Some(value) = value {
        coroutine.give_back(value, Outcome::Cancelled, covers);
    }
    let detached = Detached(Some(Job {
        name,
        listing: coroutine.list(),
        counted: DETACHED.token(),
        inner: coroutine.inner_exits(),
        rest: Box::pin(finish(coroutine)),
    }));
    match runtime.or_else(fallback::runtime) {
        Some(runtime) => drop(runtime.spawn(detached)),
        None => drop(detached),
    }
}

/// The rest of a context, from wherever its holder left it. It does not panic itself: not even where
/// what it drops does.
async fn finish<V, D, E>(mut coroutine: Coroutine<V, Code<D, E>>) -> Result<(), Payload>
where
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    let name = coroutine.name();
    let ended = catch(async {
        if coroutine.is_entering() {
            match coroutine.enter().await {
                Ok(value) => coroutine.give_back(value, Outcome::Cancelled, Covers::Body),
                Err(error) => return report::error(name, Kind::EnterFailed, Arc::new(error)),
            }
        }
        match coroutine.exit().await {
            Ok(verdict) if verdict.suppressed::<()>().is_some() => coroutine.settle(),
            Ok(_) => {}
            Err(error) => report::error(name, Kind::ExitFailed, Arc::new(error)),
        }
    })
    .await;
    coroutine.inner_exits().ended().await;
    drop_quietly(name, coroutine);
    ended
}

/// A detached exit as a task of the runtime that its context was entered on.
struct Detached(Option<Job>);

/// What it takes to bring a detached exit to its end. It counts as running until it drops, and drops in
/// this order.
struct Job {
    name: &'static str,
    rest: Pin<Box<dyn Future<Output = Result<(), Payload>> + Send>>,
    /// The exits inside of it, which it waits for.
    inner: InnerExits,
    #[expect(dead_code, reason = "held for its drop")]
    listing: Listing,
    #[expect(dead_code, reason = "held for its drop")]
    counted: TaskTrackerToken,
}

impl Future for Detached {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(job) = &mut self.0 else {
            return Poll::Ready(());
        };
        let ended = ready!(job.rest.as_mut().poll(cx));
        if let Err(payload) = ended {
            report::panic(job.name, Kind::Panicked, payload);
        }
        self.0 = None;
        Poll::Ready(())
    }
}

impl Drop for Detached {
    /// A runtime that shuts down drops its tasks without a word. Also one that has shut down
    /// already accepts the spawn, and drops the task at once.
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            rescue(job);
        }
    }
}

/// One more try, on the thread of this crate. What has not begun yet, and what is not bound to the
/// old runtime by a timer or a socket, comes to its end there.
fn rescue(job: Job) {
    let Some(runtime) = fallback::runtime() else {
        report::plain(job.name, Kind::Lost);
        return drop_quietly(job.name, job);
    };
    runtime.spawn(async move {
        // All of it moves in here.
        let mut job = job;
        loop {
            // Each exit inside has a limit of its own: this one's begins after them.
            let is_waiting = !job.inner.have_ended();
            match tokio::time::timeout(fallback::LIMIT, job.rest.as_mut()).await {
                Ok(Ok(())) => return,
                Ok(Err(payload)) => return report::panic(job.name, Kind::Lost, payload),
                Err(_) if is_waiting => {}
                Err(_) => {
                    report::plain(job.name, Kind::Lost);
                    return drop_quietly(job.name, job);
                }
            }
        }
    });
}
