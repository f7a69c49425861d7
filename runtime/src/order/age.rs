//! How old a context is, compared with others (rule d).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts, in steps of two, the guards that have been opened in all threads, and the moments at
/// which exits may have begun.
static GUARDS: AtomicU64 = AtomicU64::new(0);

/// The number of guards that are alive now.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// A token that counts as a living guard until it drops.
#[derive(Debug)]
pub(super) struct Alive;

impl Alive {
    pub(super) fn new() -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self
    }

    /// Returns `true` if a guard is alive that could wait for a context that is given up now. A
    /// guard that is opened later is younger, so it does not wait for that context.
    pub(super) fn is_there() -> bool {
        ALIVE.load(Ordering::Relaxed) != 0
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A number that tells when a context was opened. Younger contexts have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u64);

impl Number {
    /// Less than the number of every context.
    pub(super) const NONE: Self = Self(0);

    /// Returns the number of a guard that is opened now, or of a moment. No other guard or moment
    /// has the same number.
    pub(super) fn of_a_guard() -> Self {
        Self(GUARDS.fetch_add(2, Ordering::Relaxed) + 2)
    }

    /// Returns the number of any other context that is opened now. Such a number needs no counter,
    /// because it is compared only with the numbers of guards.
    pub(super) fn of_another() -> Self {
        Self(GUARDS.load(Ordering::Relaxed) | 1)
    }
}

/// The age of a context, as seen from where it is. Younger contexts have greater ages.
///
/// If a context outlives the context that it was opened in, its age is the age of the ended
/// context, followed by its own number. Only the first four numbers of an age are kept. Contexts of
/// the same age do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age([Number; 4]);

impl Age {
    pub(super) fn new(opened: Number) -> Self {
        Self([opened, Number::NONE, Number::NONE, Number::NONE])
    }

    /// Returns the age of a context inside another one of the age `outer`, as seen from outside
    /// that other context.
    pub(super) fn inside_of(self, outer: Self) -> Self {
        let mut age = outer;
        let free = age
            .0
            .iter_mut()
            .skip_while(|number| **number != Number::NONE);
        for (place, number) in free.zip(self.0) {
            *place = number;
        }
        age
    }
    /// Returns the first number in which this age differs from the other one.
    pub(super) fn first_difference(self, other: Self) -> Option<Number> {
        let mut pairs = self.0.into_iter().zip(other.0);
        pairs.find_map(|(own, other)| (own != other).then_some(own))
    }
}
