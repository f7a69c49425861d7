//! `std::panic`, with the panics of each thread counted apart.
//!
//! Shuttle's threads are one thread for std, and a thread that unwinds may lose its turn. For std,
//! the thread whose turn comes then is panicking too. So the panics that code here throws and
//! catches are counted for each thread of shuttle's.

use std::any::Any;
use std::cell::Cell;

pub use ::std::panic::*;

shuttle::thread_local! {
    /// How many panics this thread has thrown, and not caught yet.
    static PANICS: Cell<usize> = Cell::new(0);
}

/// `std::panic::resume_unwind`.
pub fn resume_unwind(payload: Box<dyn Any + Send>) -> ! {
    let _ = PANICS.try_with(|panics| panics.set(panics.get() + 1));
    ::std::panic::resume_unwind(payload)
}

/// `std::panic::catch_unwind`.
///
/// # Errors
///
/// The panic of the call.
pub fn catch_unwind<T>(call: impl FnOnce() -> T + UnwindSafe) -> ::std::thread::Result<T> {
    let before = PANICS.try_with(Cell::get);
    let called = ::std::panic::catch_unwind(call);
    if let Ok(before) = before {
        let _ = PANICS.try_with(|panics| panics.set(before));
    }
    called
}

/// `std::thread::panicking`, as far as `resume_unwind` above has thrown the panics.
#[must_use]
pub fn panicking() -> bool {
    PANICS.try_with(Cell::get).is_ok_and(|panics| panics > 0)
}
