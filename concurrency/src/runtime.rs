//! A runtime like tokio's, whose workers are threads of shuttle.
//!
//! 1. Any worker polls any task. A value that a task leaves in a thread-local is found there by the
//!    next task.
//! 2. An aborted task is dropped by a worker: at once, or after the poll that is going on.
//! 3. A runtime that shuts down drops its tasks in its workers. A task that is spawned later is
//!    dropped at once, by the thread that spawns it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Real};
use std::task::{Context, Wake, Waker};

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use shuttle::thread::{self, JoinHandle};

use crate::notify::Notify;

shuttle::thread_local! {
    /// The runtime that this thread works for.
    static CURRENT: RefCell<Option<Handle>> = RefCell::new(None);

    /// The task that is polled, or dropped, in this thread.
    static TASK: Cell<Option<Id>> = Cell::new(None);
}

/// The last number that a task got. The atomic is not shuttle's, because its changes are no steps
/// that others can see.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// `tokio::task::Id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

/// `tokio::task::try_id`.
#[must_use]
pub fn try_id() -> Option<Id> {
    TASK.try_with(Cell::get).ok().flatten()
}

/// `tokio::runtime::Runtime`.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    workers: Vec<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let handle = Handle(Arc::default());
        let workers = (0..workers).map(|_| {
            let handle = handle.clone();
            thread::spawn(move || handle.work())
        });
        Self {
            workers: workers.collect(),
            handle,
        }
    }

    /// Returns the handle, which spawns tasks.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Drops all tasks, and waits until the workers have ended, as `drop` does in tokio.
    ///
    /// # Panics
    ///
    /// If a task has panicked.
    pub fn shut_down(self) {
        self.handle.state().is_closed = true;
        self.handle.0.change.notify_all();
        for worker in self.workers {
            worker.join().expect("no task panics");
        }
    }
}

/// `tokio::runtime::Handle`.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    change: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<Id, Arc<Task>>,
    ready: VecDeque<Arc<Task>>,
    is_closed: bool,
}

impl Handle {
    /// Returns the runtime that this thread works for.
    ///
    /// # Errors
    ///
    /// If this thread works for no runtime.
    #[expect(clippy::result_unit_err, reason = "nobody looks at it")]
    pub fn try_current() -> Result<Self, ()> {
        let current = CURRENT.try_with(|current| current.borrow().clone());
        current.ok().flatten().ok_or(())
    }

    /// Runs the future as a task, or drops it if the runtime has shut down.
    pub fn spawn<F>(&self, future: F) -> Spawned
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = Arc::new(Task {
            id: Id(LAST_ID.fetch_add(1, Real::Relaxed) + 1),
            runtime: self.clone(),
            future: Mutex::new(Some(Box::pin(future))),
            is_queued: AtomicBool::new(true),
            is_aborted: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            end: Notify::new(),
        });
        let mut state = self.state();
        if state.is_closed {
            drop(state);
            task.end(&mut task.future());
        } else {
            state.tasks.insert(task.id, Arc::clone(&task));
            state.ready.push_back(Arc::clone(&task));
            drop(state);
            self.0.change.notify_one();
        }
        Spawned(task)
    }

    /// Makes this thread one of the runtime's threads until the guard drops.
    #[must_use]
    pub fn enter(&self) -> EnterGuard {
        EnterGuard(CURRENT.with(|current| current.replace(Some(self.clone()))))
    }

    fn work(&self) {
        let _here = self.enter();
        while let Some(task) = self.next() {
            task.run();
        }
    }

    /// Waits for the next task to poll or drop. Returns `None` once the runtime has shut down.
    fn next(&self) -> Option<Arc<Task>> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                state.ready.clear();
                let (_, task) = state.tasks.pop_first()?;
                task.is_aborted.store(true, Ordering::SeqCst);
                return Some(task);
            }
            if let Some(task) = state.ready.pop_front() {
                return Some(task);
            }
            let wait = self.0.change.wait(state);
            state = wait.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        // See the module `panic`: it may count as poisoned by the panic of another thread.
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Handle::enter`].
#[derive(Debug)]
pub struct EnterGuard(Option<Handle>);

impl Drop for EnterGuard {
    fn drop(&mut self) {
        let before = self.0.take();
        drop(CURRENT.with(|current| current.replace(before)));
    }
}

/// `tokio::task::JoinHandle`.
#[derive(Debug)]
pub struct Spawned(Arc<Task>);

impl Spawned {
    /// Makes a worker drop the task, unless the task ends before.
    pub fn abort(&self) {
        self.0.is_aborted.store(true, Ordering::SeqCst);
        self.0.wake_by_ref();
    }

    /// Waits until the task has ended, or was dropped.
    pub async fn ended(&self) {
        let end = self.0.end.notified();
        if !self.0.has_ended.load(Ordering::SeqCst) {
            end.await;
        }
    }
}

type Code = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    id: Id,
    runtime: Handle,
    /// `None` once the task has ended. Locked for each poll.
    future: Mutex<Option<Code>>,
    is_queued: AtomicBool,
    is_aborted: AtomicBool,
    has_ended: AtomicBool,
    end: Notify,
}

impl Task {
    fn run(self: &Arc<Self>) {
        let mut future = self.future();
        self.is_queued.store(false, Ordering::SeqCst);
        let Some(code) = future.as_mut() else {
            return;
        };
        let is_over = self.is_aborted.load(Ordering::SeqCst) || {
            let waker = Waker::from(Arc::clone(self));
            let _here = Here::new(self.id);
            let polled = code.as_mut().poll(&mut Context::from_waker(&waker));
            polled.is_ready()
        };
        if is_over {
            self.end(&mut future);
        }
    }

    fn end(&self, future: &mut Option<Code>) {
        let here = Here::new(self.id);
        *future = None;
        drop(here);
        let task = self.runtime.state().tasks.remove(&self.id);
        drop(task);
        self.has_ended.store(true, Ordering::SeqCst);
        self.end.notify_waiters();
    }

    fn future(&self) -> MutexGuard<'_, Option<Code>> {
        let future = self.future.lock();
        future.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            let mut state = self.runtime.state();
            if !state.is_closed {
                state.ready.push_back(Arc::clone(self));
            }
            drop(state);
            self.runtime.0.change.notify_one();
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.id).finish()
    }
}

/// While this lives, the task is the current task of this thread.
struct Here(Option<Id>);

impl Here {
    fn new(id: Id) -> Self {
        Self(TASK.with(|task| task.replace(Some(id))))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        TASK.with(|task| task.set(self.0));
    }
}
