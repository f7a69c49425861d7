//! Prove that a program of contexts survives being dropped anywhere (feature `testing`).
//!
//! A future can be dropped at each of its awaits. [`cancel_everywhere`] does it: it runs a program again
//! and again, dropped after 0, 1, 2, … polls until it comes to its end, waits each time until all exits
//! have run, and hands what happened to a check of yours.
//!
//! ```
//! use async_context_manager::{prelude::*, testing::cancel_everywhere};
//! use std::{convert::Infallible, sync::Arc, sync::atomic::{AtomicI32, Ordering}};
//! use tokio::time::{Duration, sleep};
//!
//! #[async_context]
//! async fn seat(taken: Arc<AtomicI32>) -> Result<(), Infallible> {
//!     taken.fetch_add(1, Ordering::Relaxed);
//!     sleep(Duration::from_secs(1)).await;
//!     let ((), _) = yield_!(());
//!     sleep(Duration::from_secs(1)).await;
//!     taken.fetch_sub(1, Ordering::Relaxed);
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! // In a `#[tokio::test(start_paused = true)]`:
//! let taken = Arc::new(AtomicI32::new(0));
//! let runs = cancel_everywhere(
//!     || seat(taken.clone()).with(async |()| Ok(sleep(Duration::from_secs(1)).await)),
//!     |run| {
//!         assert_eq!(taken.load(Ordering::Relaxed), 0, "a seat is still taken");
//!         assert!(run.reports().is_empty());
//!     },
//! )
//! .await;
//! assert_eq!(runs, 5); // before, in enter, in the body, in exit, and to the end
//! # }
//! ```
//!
//! The reports of the whole process are caught meanwhile: run such a test alone in its process, as
//! `cargo nextest` does, or behind a lock, where others make reports too. The guide has [a page on
//! it](crate::guide::testing_contexts).

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::detached;
use crate::report::{Report, Tap};

/// One run of a program under [`cancel_everywhere`] or [`cancel_after`].
///
/// ```
/// # use async_context_manager::{prelude::*, testing::cancel_after};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let run = cancel_after(1, ready::<_, std::io::Error>(1).with(async |_| Ok(tokio::task::yield_now().await))).await;
/// assert!(run.is_cancelled() && run.reports().is_empty());
/// # }
/// ```
pub struct Run<T> {
    polls: usize,
    output: Option<T>,
    reports: Vec<Arc<Report>>,
}

impl<T> Run<T> {
    /// How often the program was polled before it was dropped, or came to its end.
    ///
    /// ```
    /// # use async_context_manager::{prelude::*, testing::cancel_after};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let run = cancel_after(1, ready::<_, std::io::Error>(1).with(async |_| Ok(tokio::task::yield_now().await))).await;
    /// assert_eq!(run.polls(), 1);
    /// # }
    /// ```
    #[must_use]
    pub fn polls(&self) -> usize {
        self.polls
    }

    /// What the program gave, where it came to its end.
    ///
    /// ```
    /// # use async_context_manager::{prelude::*, testing::cancel_after};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let run = cancel_after(9, async { "done" }).await;
    /// assert_eq!(run.output(), Some(&"done"));
    /// # }
    /// ```
    #[must_use]
    pub fn output(&self) -> Option<&T> {
        self.output.as_ref()
    }

    /// Was it dropped before its end?
    ///
    /// ```
    /// # use async_context_manager::{prelude::*, testing::cancel_after};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let run = cancel_after(9, std::future::ready(())).await;
    /// assert!(!run.is_cancelled());
    /// # }
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.output.is_none()
    }

    /// What was reported during the run, in this process.
    ///
    /// ```
    /// # use async_context_manager::{prelude::*, testing::cancel_after};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let session = defer(async |_: &Outcome| Err("the other side has gone"));
    /// let run = cancel_after(1, session.with(async |()| std::future::pending::<Result<(), _>>().await)).await;
    /// assert!(run.reports()[0].to_string().contains("the other side has gone"));
    /// # }
    /// ```
    #[must_use]
    pub fn reports(&self) -> &[Arc<Report>] {
        &self.reports
    }
}

impl<T: fmt::Debug> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("polls", &self.polls)
            .field("output", &self.output)
            .field("reports", &self.reports)
            .finish()
    }
}

/// Runs the program again and again, dropped after 0, 1, 2, … polls until it comes to its end. After
/// each run it waits until no exit is running in the background, and calls the check. Gives the number
/// of runs.
///
/// A program is polled when it is woken, so a paused tokio clock goes on by itself.
///
/// ```
/// # use async_context_manager::{prelude::*, testing::cancel_everywhere};
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
/// With the panic of the check, after saying on stderr which run it was: [`cancel_after`] repeats that
/// one alone. The program's own panic goes on as well.
pub async fn cancel_everywhere<F: Future>(
    mut program: impl FnMut() -> F,
    mut check: impl FnMut(&Run<F::Output>),
) -> usize {
    let mut polls = 0;
    loop {
        let run = cancel_after(polls, program()).await;
        let checked = catch_unwind(AssertUnwindSafe(|| check(&run)));
        if let Err(payload) = checked {
            eprintln!(
                "the run that was dropped after {polls} polls failed its check: repeat it by `cancel_after({polls}, …)`"
            );
            resume_unwind(payload);
        }
        polls += 1;
        if !run.is_cancelled() {
            return polls;
        }
    }
}

/// Runs the future, drops it after so many polls unless it has come to its end by then, and waits until
/// no exit is running in the background.
///
/// ```
/// # use async_context_manager::{prelude::*, testing::cancel_after};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let run = cancel_after(0, ready::<_, std::io::Error>(1).with(async |_| Ok(tokio::task::yield_now().await))).await; // not even begun
/// assert!(run.is_cancelled());
/// # }
/// ```
pub async fn cancel_after<F: Future>(polls: usize, future: F) -> Run<F::Output> {
    let tap = Tap::open();
    let mut polled = 0;
    let output = {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if polled < polls {
                polled += 1;
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    return Poll::Ready(Some(output));
                }
            }
            if polled < polls {
                Poll::Pending
            } else {
                Poll::Ready(None)
            }
        })
        .await
    };
    detached::drain().await;
    Run {
        polls: polled,
        output,
        reports: tap.close(),
    }
}
