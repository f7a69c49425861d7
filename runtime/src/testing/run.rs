//! The result of a run of a program, and the message about a run that fails.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::outcome::BodyPanic;
use crate::panic::{Payload, catch, drop_payload};
use crate::report::Report;

/// One run of a program.
///
/// `Display` describes it in a few words, for the message of an assertion: `dropped after 3 polls`.
///
/// ```
/// # use async_context_manager::{contexts::ready, prelude::*, testing::cancel_after};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let run = cancel_after(1, ready::<_, std::io::Error>(1).with(async |_| Ok(tokio::task::yield_now().await))).await;
/// assert!(run.is_cancelled() && run.reports().is_empty());
/// # }
/// ```
#[derive(Debug)]
pub struct Run<T> {
    polls: usize,
    is_woken: bool,
    ended: Ended<T>,
    reports: Vec<Arc<Report>>,
}

#[derive(Debug)]
enum Ended<T> {
    Output(T),
    Panicked(BodyPanic),
    Cancelled,
}

impl<T> Run<T> {
    /// Returns how often the program was polled before it was dropped, or ended.
    ///
    /// ```
    /// # use async_context_manager::{contexts::ready, prelude::*, testing::cancel_after};
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

    /// Returns the program's output, if the program ended.
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
        match &self.ended {
            Ended::Output(output) => Some(output),
            Ended::Panicked(_) | Ended::Cancelled => None,
        }
    }

    /// Returns the program's panic, if the program panicked. Only [`inject`](super::inject) and
    /// [`inject_everywhere`](super::inject_everywhere) catch panics.
    #[must_use]
    pub fn panic(&self) -> Option<&BodyPanic> {
        match &self.ended {
            Ended::Panicked(panic) => Some(panic),
            Ended::Output(_) | Ended::Cancelled => None,
        }
    }

    /// Returns `true` if the program was dropped before its end.
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
        matches!(self.ended, Ended::Cancelled)
    }

    /// Returns the reports of this process during the run.
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*, testing::cancel_after};
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

impl<T> fmt::Display for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.ended {
            Ended::Output(_) => "ended",
            Ended::Panicked(_) => "panicked",
            Ended::Cancelled => "dropped",
        };
        let polls = self.polls;
        let s = if polls == 1 { "" } else { "s" };
        let woken = if self.is_woken { ", woken again" } else { "" };
        write!(f, "{what} after {polls} poll{s}{woken}")
    }
}

/// A run whose panic has been neither caught nor resumed.
pub(super) struct Raw<T> {
    pub(super) polls: usize,
    /// `true` if the program was dropped when it had been woken for another poll.
    pub(super) is_woken: bool,
    /// `None` if the program was dropped.
    pub(super) ended: Option<Result<T, Payload>>,
    pub(super) reports: Vec<Arc<Report>>,
}

impl<T> Raw<T> {
    /// Makes the panic a part of the run.
    pub(super) fn catching(self) -> Run<T> {
        let ended = match self.ended {
            None => Ended::Cancelled,
            Some(Ok(output)) => Ended::Output(output),
            Some(Err(payload)) => {
                let panic = BodyPanic::new(&*payload);
                drop_payload(payload);
                Ended::Panicked(panic)
            }
        };
        Run {
            polls: self.polls,
            is_woken: self.is_woken,
            ended,
            reports: self.reports,
        }
    }

    pub(super) fn resuming(mut self) -> Run<T> {
        if let Some(Err(payload)) = self.ended.take_if(|ended| ended.is_err()) {
            resume_unwind(payload);
        }
        self.catching()
    }
}

/// Runs a program, and checks the run. If the program or the check panics, writes `repeat` to
/// stderr: the call that makes the same run alone.
pub(super) async fn checked<R>(
    repeat: impl Fn() -> String,
    run: impl Future<Output = R>,
    check: impl FnOnce(&R),
) -> R {
    let ran = catch(run).await.and_then(|run| {
        catch_unwind(AssertUnwindSafe(|| check(&run)))?;
        Ok(run)
    });
    ran.unwrap_or_else(|payload| {
        eprintln!("this run failed, and is repeated alone by `{}`", repeat());
        resume_unwind(payload)
    })
}
