//! Fairness between two futures that one poll of a task polls.
//!
//! A task of tokio has a budget for each of its polls. Once the budget is used up, the timers,
//! sockets and channels of tokio return `Pending`, and the task is polled again. So if the first
//! future always uses the budget up, the second one never gets any of it.

use std::mem;

use tokio::task::coop;

/// Remembers whether the first future has used up the budget. The next poll then begins with the
/// second one. The poll after that begins with the first one in any case.
#[derive(Debug, Default)]
pub(crate) struct Fairness {
    is_second_starved: bool,
    /// `true` if this poll began with the second future.
    second_was_first: bool,
}

impl Fairness {
    /// Returns `true` if this poll must begin with the second future.
    #[inline]
    pub(crate) fn is_second_first(&mut self) -> bool {
        self.second_was_first = mem::take(&mut self.is_second_starved);
        self.second_was_first
    }

    /// Must be called after the poll of the first future, and before the poll of the second one.
    pub(crate) fn first_was_polled(&mut self) {
        // Otherwise the second future may have used the budget up.
        self.is_second_starved = !self.second_was_first && !coop::has_budget_remaining();
    }
}
