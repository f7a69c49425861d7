//! The thread of this crate, for exits that have no other runtime: a current-thread tokio runtime,
//! started when it is needed for the first time, and kept.

use std::cell::Cell;
use std::future;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

/// How long it is tried here to finish what a runtime that shut down has left behind.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// The runtime; `None` where the system has no thread for it, which the next call tries again.
pub(crate) fn runtime() -> Option<Handle> {
    static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);

    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if runtime.is_none() {
        *runtime = start();
    }
    runtime.clone()
}

thread_local! {
    static IS_HERE: Cell<bool> = const { Cell::new(false) };

    static ARE_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// While it is there, the exits of a stack that is polled in this thread go on alone, each with a
/// time limit of its own.
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

/// Is this its thread?
pub(crate) fn is_here() -> bool {
    IS_HERE.try_with(Cell::get).unwrap_or(false)
}

fn start() -> Option<Handle> {
    let (send, started) = mpsc::channel();
    // The runtime is built on its own thread: where that can't be started, there is none to drop,
    // which a thread of another runtime must not do.
    let thread = thread::Builder::new().name("async-context-manager".into());
    let spawned = thread.spawn(move || {
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
            return;
        };
        IS_HERE.set(true);
        if send.send(runtime.handle().clone()).is_ok() {
            runtime.block_on(future::pending::<()>());
        }
    });
    spawned.ok().and_then(|_| started.recv().ok())
}
