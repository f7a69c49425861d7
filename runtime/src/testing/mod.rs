//! Prove that a program of contexts survives whatever goes wrong in it (feature `testing`).
//!
//! | function | what goes wrong |
//! | --- | --- |
//! | [`cancel_everywhere`] | the program is dropped, at each of its awaits |
//! | [`cancel_pairs`] | two programs that run beside each other are dropped, each at each of its awaits |
//! | [`inject_everywhere`] | an error or a panic at each point that the program names, or a drop between two of its polls; and any two of these |
//!
//! Each function runs a program again and again, waits after each run until all exits have run, and
//! passes the result to your check. If a run fails its check, stderr shows the call that repeats
//! that run alone: [`cancel_after`], [`cancel_woken_after`], [`cancel_pair_after`] or [`inject`].
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
//!         assert_eq!(taken.load(Ordering::Relaxed), 0, "a seat is still taken, {run}");
//!         assert!(run.reports().is_empty());
//!     },
//! )
//! .await;
//! // One without a poll; two at each of the three waits, as it begins and when it is over; and one
//! // to the end.
//! assert_eq!(runs, 8);
//! # }
//! ```
//!
//! # What runs beside a body
//!
//! The future [beside](crate::guide::beside) a body is polled with the program. Therefore
//! [`cancel_everywhere`] also drops the program while that future waits, when it has been woken,
//! and when it has ended. [`inject_everywhere`] lets that future fail, and panic, at each
//! [`point`](Faults::point) that it reaches. [`Faults::beside`] is a future that reaches a point at
//! each of its polls. If this future runs beside a body, the runs end that body at each of these
//! polls.
//!
//! Under a guard, a task polls the future beside the body. There the program is dropped only
//! between its own polls.
//!
//! # How programs run
//!
//! The task of the test polls a program when the program is woken. Therefore a paused tokio clock
//! advances by itself, and the runs are fast and deterministic.
//!
//! During the runs, the reports of the whole process are caught. If other tests make reports too,
//! run such a test alone in its process, as `cargo nextest` does, or behind a lock.
//!
//! # Panics
//!
//! A program that does not end does not block the test for ever. All these functions panic in three
//! cases: a program has not ended after 5,000 polls, nothing has woken it for a minute of real
//! time, or its exits have not ended a minute after the program has gone. [`set_patience`] changes
//! that minute.

mod cancel;
mod inject;
mod pairs;
mod patience;
mod polled;
mod run;

pub use cancel::{cancel_after, cancel_everywhere, cancel_woken_after};
pub use inject::{Fault, Faults, Injected, inject, inject_everywhere};
pub use pairs::{PairRun, cancel_pair_after, cancel_pairs};
pub use patience::set_patience;
pub use run::Run;
