//! An observer that counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::outcome::Outcome;

use super::{Event, Step};

/// Counts what contexts do. `Counters::new` is `const`, so the counters can be a `static`.
///
/// ```
/// use async_context_manager::observe::{self, Counters};
///
/// static COUNTERS: Counters = Counters::new();
/// observe::set_observer(|event| COUNTERS.count(event));
/// assert_eq!(COUNTERS.counts().lost, 0);
/// # observe::reset_observer();
/// ```
#[derive(Debug, Default)]
pub struct Counters {
    entered: AtomicU64,
    not_entered: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    cancelled: AtomicU64,
    exit_failed: AtomicU64,
    detached: AtomicU64,
    lost: AtomicU64,
}

/// What [`Counters`] have counted so far.
///
/// ```
/// use async_context_manager::observe::Counters;
///
/// assert_eq!(Counters::new().counts().entered, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Enters that returned a value.
    pub entered: u64,
    /// Enters that returned no value.
    pub not_entered: u64,
    /// Exits after a body that returned `Ok`.
    pub completed: u64,
    /// Exits after a body that returned an error.
    pub failed: u64,
    /// Exits after a body that panicked.
    pub panicked: u64,
    /// Exits after a body that was cancelled.
    pub cancelled: u64,
    /// Exits that returned an error, panicked or were cut off. Each is also one of the exits above.
    pub exit_failed: u64,
    /// Contexts that went on in the background.
    pub detached: u64,
    /// Contexts that were entered, and dropped before their exit had ended.
    pub lost: u64,
}

impl Counts {
    /// Returns how many contexts are between the end of their enter and the end of their exit. The
    /// counts are read one after the other, so the result is approximate while contexts are busy.
    ///
    /// ```
    /// assert_eq!(async_context_manager::observe::Counters::new().counts().in_use(), 0);
    /// ```
    #[must_use]
    pub fn in_use(&self) -> u64 {
        let over = self.completed + self.failed + self.panicked + self.cancelled + self.lost;
        self.entered.saturating_sub(over)
    }
}

impl Counters {
    /// Returns counters at zero.
    ///
    /// ```
    /// # use async_context_manager::observe::Counters;
    /// static COUNTERS: Counters = Counters::new();
    /// assert_eq!(COUNTERS.counts().entered, 0);
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entered: AtomicU64::new(0),
            not_entered: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            exit_failed: AtomicU64::new(0),
            detached: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Counts one event. The [observer](super::set_observer) calls it.
    ///
    /// ```
    /// # use async_context_manager::observe::{self, Counters};
    /// # static COUNTERS: Counters = Counters::new();
    /// observe::set_observer(|event| COUNTERS.count(event));
    /// # observe::reset_observer();
    /// ```
    pub fn count(&self, event: &Event<'_>) {
        let counter = match &event.step {
            Step::Entered { .. } => &self.entered,
            Step::NotEntered => &self.not_entered,
            Step::Detached => &self.detached,
            Step::Lost => &self.lost,
            Step::Exited {
                outcome,
                exit_failed,
                ..
            } => {
                if *exit_failed {
                    self.exit_failed.fetch_add(1, Ordering::Relaxed);
                }
                match outcome {
                    Outcome::Completed => &self.completed,
                    Outcome::Failed(_) => &self.failed,
                    Outcome::Panicked(_) => &self.panicked,
                    Outcome::Cancelled => &self.cancelled,
                }
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts so far.
    ///
    /// ```
    /// # use async_context_manager::observe::Counters;
    /// let counts = Counters::new().counts();
    /// assert_eq!((counts.completed, counts.cancelled), (0, 0));
    /// ```
    #[must_use]
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            // The ends are read before the enters, so that no end is counted whose enter is not.
            completed: get(&self.completed),
            failed: get(&self.failed),
            panicked: get(&self.panicked),
            cancelled: get(&self.cancelled),
            lost: get(&self.lost),
            exit_failed: get(&self.exit_failed),
            detached: get(&self.detached),
            not_entered: get(&self.not_entered),
            entered: get(&self.entered),
        }
    }
}
