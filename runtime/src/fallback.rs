//! The thread of this crate, for exits and timers that have no other runtime: a current-thread
//! tokio runtime, which starts when it is first needed, and is kept.

use std::cell::Cell;
use std::future;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

/// How long an exit that a shut-down runtime has left behind may run here.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Returns the runtime, or `None` if the system has no thread for it. The next call then tries
/// again.
pub(crate) fn runtime() -> Option<Handle> {
    static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);

    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if runtime.is_none() {
        *runtime = start("async-context-manager", || IS_HERE.set(true));
    }
    runtime.clone()
}

thread_local! {
    static IS_HERE: Cell<bool> = const { Cell::new(false) };

    static ARE_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// While this exists, each exit of a stack that is polled in this thread is handed over separately,
/// with a time limit of its own.
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

pub(crate) fn is_here() -> bool {
    IS_HERE.try_with(Cell::get).unwrap_or(false)
}

/// Starts a thread with a current-thread runtime that never ends. Calls `begin` on that thread
/// first.
pub(crate) fn start(name: &str, begin: impl FnOnce() + Send + 'static) -> Option<Handle> {
    let (send, started) = mpsc::channel();
    // The runtime is built on its own thread. Otherwise, if that thread could not start, the
    // runtime would be dropped here, and a drop on a thread of another runtime panics.
    let thread = thread::Builder::new().name(name.into());
    let spawned = thread.spawn(move || {
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
            return;
        };
        begin();
        if send.send(runtime.handle().clone()).is_ok() {
            runtime.block_on(future::pending::<()>());
        }
    });
    spawned.ok().and_then(|_| started.recv().ok())
}
