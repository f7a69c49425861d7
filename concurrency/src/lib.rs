//! Stands for `std`, `tokio` and `spin` in files of the runtime that run under shuttle's scheduler.
//!
//! A program of threads does what it should, or not, by how their steps interleave. Under shuttle
//! it runs in one thread, which decides before each step that others can see (a lock, an atomic, a
//! park) whose turn is next, by chance but repeatably. For that all these steps must be shuttle's.
//!
//! `tests/schedules` has the runtime's own source files as its modules, unchanged, and this crate
//! as all three: what they share with other threads, or wait for, is in here instead, and all the
//! rest is real. A use of a lock, or of tokio, that this crate does not have does not compile.
//!
//! What is not covered: weak memory, as here all atomics are sequentially consistent; time, which
//! does not pass here; the thread in `fallback.rs`, whose place is taken by a runtime of this
//! crate. (loom knows weak memory, but tries *all* schedules, which for a hand-over are too many.)
//! `Arc`, `LazyLock` and `OnceLock` are std's: nobody waits for one another there.

pub use ::std::*;

pub mod mutex;
mod notify;
pub mod runtime;
mod schedules;

pub use schedules::check;

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
}

/// `std::thread`.
pub mod thread {
    pub use shuttle::future::block_on;
    pub use shuttle::thread::*;
}

/// `std::time`, and `tokio::time`.
pub mod time {
    use ::std::convert::Infallible;
    pub use ::std::time::*;

    /// Time does not pass here: no limit is ever reached.
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
