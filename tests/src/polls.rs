//! Polling by hand.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use async_context_manager::detached;

use crate::{Ledger, Stage};

/// Is pending for this number of polls, on any executor.
pub async fn pause(polls: usize) {
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls the future this many times, and then drops it, unless it has ended before. The executor
/// has a turn after each poll.
pub async fn poll_times<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(output);
        }
        pause(1).await;
    }
    None
}

/// Runs the program again and again, and drops it after 0, 1, 2, … polls, until it ends by itself.
/// Passes each run to the check when no exit runs in the background any more.
pub async fn cancel_at_every_poll<T>(
    stage: &Stage,
    program: impl AsyncFn(Ledger) -> T,
    check: impl Fn(usize, Option<T>, &Ledger),
) {
    for polls in 0.. {
        let ledger = Ledger::default();
        let ended = poll_times(program(ledger.clone()), polls).await;
        detached::drain().await;
        let finished = ended.is_some();
        stage.context(format!("dropped after {polls} polls: {}", ledger.text()));
        check(polls, ended, &ledger);
        if finished {
            assert!(polls > 3, "a program with hardly an await proves little");
            return;
        }
    }
}
