//! Two programs that run at the same time, each dropped at each of its awaits.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use super::patience::{Patience, drain};
use super::polled::{Moment, Polled};
use super::run::checked;
use crate::panic::resume;
use crate::report::{Report, Tap};

/// One run of two programs under [`cancel_pairs`] or [`cancel_pair_after`].
#[derive(Debug)]
pub struct PairRun<A, B> {
    polls: (usize, usize),
    outputs: (Option<A>, Option<B>),
    reports: Vec<Arc<Report>>,
}

impl<A, B> PairRun<A, B> {
    /// Returns how often each program was polled before it was dropped, or ended.
    #[must_use]
    pub fn polls(&self) -> (usize, usize) {
        self.polls
    }

    /// Returns the output of each program; `None` if the program was dropped.
    #[must_use]
    pub fn outputs(&self) -> (Option<&A>, Option<&B>) {
        (self.outputs.0.as_ref(), self.outputs.1.as_ref())
    }

    /// Returns the reports of this process during the run.
    #[must_use]
    pub fn reports(&self) -> &[Arc<Report>] {
        &self.reports
    }
}

/// Runs two programs at the same time, again and again. The first is dropped after 0, 1, 2, …
/// polls, and so is the second, in all combinations, until each has ended by itself. The programs
/// are polled in turn, each when it is woken. After each run, waits until no exit is running in the
/// background, and calls the check. Returns the number of runs.
///
/// [`cancel_everywhere`](super::cancel_everywhere) proves that a program cleans up after itself.
/// This function proves that a program and the background exits of another one do not disturb each
/// other. While the exits of the first program still run, the second reaches each of its awaits,
/// and is dropped there; and the other way around. Use it for two users of one resource: a pool, a
/// lock, a file.
///
/// Each program must also end if the other one was dropped.
///
/// ```
/// use async_context_manager::{prelude::*, testing::cancel_pairs};
/// use std::{convert::Infallible, sync::Arc, time::Duration};
/// use tokio::sync::{Mutex, OwnedMutexGuard};
/// use tokio::time::sleep;
///
/// #[async_context]
/// async fn lock(lock: Arc<Mutex<i32>>) -> Result<OwnedMutexGuard<i32>, Infallible> {
///     let (held, _) = yield_!(lock.lock_owned().await);
///     sleep(Duration::from_secs(1)).await; // say goodbye to a server
///     drop(held);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let shared = Arc::new(Mutex::new(0));
/// let user = || lock(shared.clone()).with(async |held| Ok(**held += 1));
/// let runs = cancel_pairs(
///     || (user(), user()),
///     |run| assert!(shared.try_lock().is_ok(), "still locked: {run:?}"),
/// )
/// .await;
/// assert!(runs > 6);
/// # }
/// ```
///
/// # Panics
///
/// If the check or a program panics, or if a program [does not end](super#panics). Stderr first
/// shows the call of [`cancel_pair_after`] that repeats this run alone.
pub async fn cancel_pairs<A: Future, B: Future>(
    mut programs: impl FnMut() -> (A, B),
    mut check: impl FnMut(&PairRun<A::Output, B::Output>),
) -> usize {
    let mut runs = 0;
    for first in 0.. {
        let mut is_first_cancelled = false;
        for second in 0.. {
            let repeat = || format!("cancel_pair_after(({first}, {second}), …)");
            let run = cancel_pair_after((first, second), programs());
            let run = checked(repeat, run, &mut check).await;
            runs += 1;
            is_first_cancelled |= run.outputs.0.is_none();
            if run.outputs.1.is_some() {
                break;
            }
        }
        if !is_first_cancelled {
            break;
        }
    }
    runs
}

/// Runs two programs at the same time, drops each after this number of its polls unless it has
/// ended by then, and waits until no exit is running in the background.
///
/// # Panics
///
/// If a program panics, or if a program [does not end](super#panics). A panic of a program goes on
/// after the other program has gone and the exits have run.
pub async fn cancel_pair_after<A: Future, B: Future>(
    polls: (usize, usize),
    programs: (A, B),
) -> PairRun<A::Output, B::Output> {
    let tap = Tap::open();
    let mut first = Polled::new(programs.0, Moment::After(polls.0));
    let mut second = Polled::new(programs.1, Moment::After(polls.1));
    let mut patience = Patience::new();
    poll_fn(|cx| {
        let before = (first.polls, second.polls);
        let gone = (first.poll(cx), second.poll(cx));
        if gone.0.is_ready() && gone.1.is_ready() {
            return Poll::Ready(());
        }
        let polls = (first.polls, second.polls);
        if polls != before {
            patience.renew();
        }
        if let Some(limit) = patience.poll_end(cx) {
            panic!(
                "nothing has woken the programs for {limit:?} after polls {polls:?}: does one of them \
                 wait for the other, which has gone?"
            );
        }
        Poll::Pending
    })
    .await;
    drain().await;
    let polls = (first.polls, second.polls);
    PairRun {
        polls,
        outputs: (outcome(first), outcome(second)),
        reports: tap.close(),
    }
}

fn outcome<F: Future>(program: Polled<F>) -> Option<F::Output> {
    let ended = program.ended?;
    Some(resume(ended))
}
