//! Replaces the runtime's module of this name by a runtime that a story can stop, and do without.

use std::cell::Cell;
use std::runtime::{Handle, Runtime};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) const LIMIT: Duration = Duration::from_secs(5);

static FALLBACK: Mutex<Fallback> = Mutex::new(Fallback {
    is_there: true,
    runtime: None,
});

struct Fallback {
    is_there: bool,
    runtime: Option<Runtime>,
}

/// Returns the runtime, which starts when a story first needs it.
pub(crate) fn runtime() -> Option<Handle> {
    let mut fallback = lock();
    if !fallback.is_there {
        return None;
    }
    let runtime = fallback.runtime.get_or_insert_with(|| Runtime::new(1));
    Some(runtime.handle().clone())
}

/// Pretends from now on that the system has no thread for the runtime.
pub(crate) fn withhold() {
    lock().is_there = false;
}

thread_local! {
    static ARE_ALONE: Cell<bool> = Cell::new(false);
}

/// As in the runtime: while this exists, the exits of a stack that is polled in this thread go on
/// alone.
pub(crate) struct EachAlone {
    before: bool,
}

impl EachAlone {
    pub(crate) fn begin() -> Self {
        let before = ARE_ALONE.try_with(|cell| cell.replace(true));
        Self {
            before: before.unwrap_or(false),
        }
    }

    pub(crate) fn is_going_on() -> bool {
        ARE_ALONE.try_with(Cell::get).unwrap_or(false)
    }
}

impl Drop for EachAlone {
    fn drop(&mut self) {
        let _ = ARE_ALONE.try_with(|cell| cell.set(self.before));
    }
}

/// Restores the state before the story.
pub(crate) fn reset() {
    let runtime = {
        let mut fallback = lock();
        fallback.is_there = true;
        fallback.runtime.take()
    };
    if let Some(runtime) = runtime {
        runtime.shut_down();
    }
}

fn lock() -> MutexGuard<'static, Fallback> {
    FALLBACK.lock().unwrap_or_else(PoisonError::into_inner)
}
