//! Replaces `std`, `tokio` and `spin` in the files of the runtime that run under shuttle's
//! scheduler.
//!
//! Whether a program of threads is right depends on how their steps interleave. Under shuttle, the
//! program runs in one thread. Before each step that others can see (a lock, an atomic, a park),
//! this thread decides whose turn is next, by chance but repeatably. So all these steps must be
//! shuttle's.
//!
//! The modules of `tests/schedules` are the runtime's own source files, unchanged, and this crate
//! takes the place of the three crates. Everything that these files share with other threads, or
//! wait for, is here instead. All the rest is real. A use of a lock, or of tokio, that this crate
//! does not have does not compile.
//!
//! Not covered are weak memory, because all atomics are sequentially consistent here; time, which
//! does not pass here, so that a short time limit is a number of polls; and the thread in
//! `fallback.rs`, whose place is taken by a runtime of this crate. (loom knows weak memory, but
//! tries *all* schedules, which for a hand-over are too many.) `Arc`, `LazyLock` and `OnceLock` are
//! std's, because no thread waits for another there.

pub use ::std::*;

pub mod mutex;
mod notify;
pub mod panic;
pub mod runtime;
mod schedules;

pub use schedules::{check, check_each};

/// `std::sync`, and `tokio::sync`.
pub mod sync {
    pub use ::std::sync::{Arc, LazyLock, OnceLock, PoisonError, Weak};
    pub use shuttle::sync::{Mutex, MutexGuard, RwLock, atomic};

    pub use crate::notify::{Notified, Notify};
}

/// `std::task`, and `tokio::task`.
pub mod task {
    pub use ::std::task::*;
    pub use shuttle::future::yield_now;

    pub use crate::runtime::{Id, try_id};

    /// `tokio::task::coop`, for tasks without a budget.
    pub mod coop {
        /// Returns `true`.
        #[must_use]
        pub fn has_budget_remaining() -> bool {
            true
        }
    }
}

/// `std::thread`.
pub mod thread {
    pub use shuttle::future::block_on;
    pub use shuttle::thread::*;

    pub use crate::panic::panicking;
}

/// `std::time`, and `tokio::time`.
pub mod time {
    use ::std::convert::Infallible;
    pub use ::std::time::*;

    /// Awaits the future without a limit, because time does not pass here.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn timeout<F: Future>(_limit: Duration, future: F) -> Result<F::Output, Infallible> {
        Ok(future.await)
    }
}

/// `std::thread_local`.
#[macro_export]
macro_rules! thread_local {
    ($($keys:tt)*) => {
        $crate::__shuttle::thread_local! { $($keys)* }
    };
}

#[doc(hidden)]
pub use shuttle as __shuttle;
