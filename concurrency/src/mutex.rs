//! `spin::mutex`.

use shuttle::sync::atomic::{AtomicUsize, Ordering};

pub use ::spin::mutex::SpinMutexGuard;

/// A lock that is tried, and never waited for. Each try is a step that others can see. The lock
/// itself is real.
#[derive(Debug)]
pub struct SpinMutex<T> {
    tries: AtomicUsize,
    lock: ::spin::mutex::SpinMutex<T>,
}

impl<T> SpinMutex<T> {
    /// Makes a lock that is free.
    pub fn new(value: T) -> Self {
        Self {
            tries: AtomicUsize::new(0),
            lock: ::spin::mutex::SpinMutex::new(value),
        }
    }

    /// Returns the value of a lock that nobody else can have.
    pub fn get_mut(&mut self) -> &mut T {
        self.lock.get_mut()
    }

    /// Returns `None` if somebody else has the lock.
    pub fn try_lock(&self) -> Option<SpinMutexGuard<'_, T>> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        self.lock.try_lock()
    }
}
