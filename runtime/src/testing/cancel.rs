//! A program that is dropped at each of its awaits.

use std::future::{Future, poll_fn};

use super::patience::{Patience, drain};
use super::polled::{Moment, Polled};
use super::run::{Raw, Run, checked};
use crate::report::Tap;

/// Runs the program again and again, and drops it each time at another moment between two of its
/// polls, until a run ends by itself. The first moment is before the first poll. Each await that
/// waits adds two moments: when the program begins to wait, and when it has been woken but not
/// polled. After each run, waits until no exit is running in the background, and calls the check.
/// Returns the number of runs.
///
/// ```
/// # use async_context_manager::{contexts::ready, prelude::*, testing::cancel_everywhere};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runs = cancel_everywhere(
///     || ready::<_, std::io::Error>(1).with(async |_| Ok(tokio::task::yield_now().await)),
///     |run| assert!(run.reports().is_empty()),
/// )
/// .await;
/// assert!(runs > 2);
/// # }
/// ```
///
/// # Panics
///
/// If the check or the program panics, or if the program [does not end](super#panics). Stderr first
/// shows the call that repeats this run alone, of [`cancel_after`] or [`cancel_woken_after`].
pub async fn cancel_everywhere<F: Future>(
    mut program: impl FnMut() -> F,
    mut check: impl FnMut(&Run<F::Output>),
) -> usize {
    let mut runs = 0;
    for polls in 0.. {
        let repeat = || format!("cancel_after({polls}, …)");
        let run = checked(repeat, cancel_after(polls, program()), &mut check).await;
        runs += 1;
        if !run.is_cancelled() {
            break;
        }
        if polls > 0 {
            let repeat = || format!("cancel_woken_after({polls}, …)");
            checked(repeat, cancel_woken_after(polls, program()), &mut check).await;
            runs += 1;
        }
    }
    runs
}

/// Runs the future, drops it immediately after this number of polls unless it has ended by then,
/// and waits until no exit is running in the background.
///
/// ```
/// use async_context_manager::testing::cancel_after;
/// use tokio::task::yield_now;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let run = cancel_after(1, async { yield_now().await }).await;
/// assert!(run.is_cancelled());
/// assert_eq!(run.to_string(), "dropped after 1 poll");
///
/// let run = cancel_after(2, async { yield_now().await }).await;
/// assert_eq!((run.polls(), run.output()), (2, Some(&())));
/// # }
/// ```
///
/// # Panics
///
/// If the future panics, or if it [does not end](super#panics). A panic of the future goes on after
/// the exits have run.
pub async fn cancel_after<F: Future>(polls: usize, future: F) -> Run<F::Output> {
    run(future, Moment::After(polls), |_| {}).await.resuming()
}

/// As [`cancel_after`], but drops the future when it has been woken for the next poll, before that
/// poll. What the future waited for is ready, but the future has not received it.
///
/// # Panics
///
/// As `cancel_after`.
pub async fn cancel_woken_after<F: Future>(polls: usize, future: F) -> Run<F::Output> {
    let moment = Moment::WokenAfter(polls);
    run(future, moment, |_| {}).await.resuming()
}

/// Runs the program, drops it at this moment, and drains. `polled` is called after each poll, with
/// the number of polls so far.
pub(super) async fn run<F: Future>(
    program: F,
    moment: Moment,
    mut polled: impl FnMut(usize),
) -> Raw<F::Output> {
    let tap = Tap::open();
    let mut program = Polled::new(program, moment);
    let mut patience = Patience::new();
    poll_fn(|cx| {
        let before = program.polls;
        let gone = program.poll(cx);
        if program.polls > before {
            patience.renew();
            polled(program.polls);
        }
        if gone.is_pending() {
            if let Some(limit) = patience.poll_end(cx) {
                panic!(
                    "nothing has woken the program for {limit:?} after its poll {}: does it wait for \
                     something that never comes?",
                    program.polls
                );
            }
        }
        gone
    })
    .await;
    drain().await;
    Raw {
        polls: program.polls,
        is_woken: program.is_dropped_woken(),
        ended: program.ended,
        reports: tap.close(),
    }
}
