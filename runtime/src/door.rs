//! Counts the exits in the background, and decides which enters wait until there are fewer. The
//! place where enters wait is called the *door*.
//!
//! With a limit of `n`, the rules are:
//!
//! 1. An enter that comes to the door waits there if `n` exits are in the background.
//! 2. An enter waits only if it is inside no context, and its task holds no open guard. An enter
//!    inside a context may be what a closing context waits for: it may be in an exit, in a body, or
//!    in a task of [`tasks`](crate::tasks). A guard that the task holds may be what a closing
//!    context needs. Outside tokio, where tasks cannot be told apart, no enter waits.
//! 3. While fewer than `n` exits are in the background, waiting enters are let in, in the order in
//!    which they came: one when an exit ends, one when an enter that has passed the door ends, and
//!    up to `n` when no exit is left. So the enters that have waited do not come in all at once.
//! 4. When a task comes to hold a guard, the task's waiting enters are let in, by rule 2.
//! 5. So that nothing waits here for ever, an enter that has waited longer than the wait limit of
//!    reports is reported, and goes in. The rules above cannot see everything that an exit waits
//!    for (a task that the exit has spawned and joins). And an enter that was let in but is never
//!    polled does not end, so it lets no other enter in.
//!
//! The lock of the door and the lock of the tasks are never held at the same time. Wakers are
//! cloned, woken and dropped without either, because a waker may run code of the user.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use crate::alarm::Alarm;
use crate::observe::{self, Extra, Watch};
use crate::order::{self, Kind as Hold, Root};
use crate::report;
use crate::roster::{Seen, Snapshot};

/// The number of exits in the background.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Wakes the tasks that wait until no exit is in the background.
static NONE: Notify = Notify::const_new();

static LIMIT: AtomicUsize = AtomicUsize::new(NO_LIMIT);

const NO_LIMIT: usize = usize::MAX;

static DOOR: Mutex<Door> = Mutex::new(Door {
    waiting: BTreeMap::new(),
    next: 0,
});

/// The tasks that hold guards, or have waiting enters, while there is a limit.
static TASKS: LazyLock<Mutex<Tasks>> = LazyLock::new(Default::default);

type Tasks = HashMap<Root, Task>;

struct Door {
    /// The enters that wait, in the order in which they came.
    waiting: BTreeMap<u64, Waker>,
    /// The number of the next enter that waits.
    next: u64,
}

#[derive(Default)]
struct Task {
    guards: usize,
    /// The task's waiting enters, by their numbers at the door.
    waiting: BTreeMap<u64, Waker>,
}

pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

/// Waits until no exit is in the background. Calls `before` before each check.
pub(crate) async fn none(before: impl Fn()) {
    loop {
        // Created before the check of the count: otherwise the end of an exit between the check and
        // the wait would be missed.
        let none = NONE.notified();
        before();
        if count() == 0 {
            return;
        }
        none.await;
    }
}

/// Counts as one exit in the background until it drops.
pub(crate) struct Counted(());

impl Counted {
    pub(crate) fn new() -> Self {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let is_last = COUNT.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            NONE.notify_waiters();
        }
        let limit = LIMIT.load(Ordering::Relaxed);
        if limit != NO_LIMIT {
            let_in(if is_last { limit } else { 1 });
        }
    }
}

/// Makes enters wait from now on while this number of exits is in the background. With a limit of
/// zero, no enter would ever have room, so zero counts as one.
pub(crate) fn set_limit(limit: usize) {
    let limit = limit.max(1);
    LIMIT.store(limit, Ordering::Relaxed);
    observe::bound(limit != NO_LIMIT);
    let_in(limit);
}

fn door() -> MutexGuard<'static, Door> {
    DOOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tasks() -> MutexGuard<'static, Tasks> {
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets waiting enters in (rule 3). An enter that comes meanwhile either sees the new count or is
/// seen here, because this function takes the lock after the count has changed.
fn let_in(most: usize) {
    let mut let_in = Vec::new();
    let mut door = door();
    while let_in.len() < most && has_room() {
        let Some((_, waker)) = door.waiting.pop_first() else {
            break;
        };
        let_in.push(waker);
    }
    drop(door);
    let_in.into_iter().for_each(Waker::wake);
}

fn has_room() -> bool {
    count() < LIMIT.load(Ordering::Relaxed)
}

/// Returns the watch of a context whose enter begins here and now.
#[inline]
pub(crate) fn watch(name: &'static str, hold: Hold) -> Watch {
    Watch::begin(name, |is_listed, is_bounded| Extra {
        around: if is_listed { order::around() } else { None },
        entrance: if is_bounded { entrance(hold) } else { None },
    })
}

/// Returns `None` inside a context or outside tokio, where no enter waits (rule 2).
fn entrance(hold: Hold) -> Option<Box<dyn observe::Entrance>> {
    let entrance = Entrance {
        root: order::root_outside_of_contexts()?,
        is_guard: hold == Hold::Guard,
        holds: false,
        step: Step::Outside,
        alarm: None,
    };
    Some(Box::new(entrance))
}

/// The way of a context through the door. Later, this counts the context as a guard, if it is one.
struct Entrance {
    root: Root,
    is_guard: bool,
    /// `true` if the context counts as a guard of its task.
    holds: bool,
    step: Step,
    alarm: Option<Alarm>,
}

#[derive(Clone, Copy)]
enum Step {
    /// The enter has not come to the door yet.
    Outside,
    Waiting(u64),
    /// The enter was let in, and has not ended.
    Entering,
    In,
}

impl observe::Entrance for Entrance {
    fn poll(&mut self, name: &'static str, cx: &mut Context<'_>) -> Poll<()> {
        self.step = match self.step {
            Step::Outside => self.come(cx),
            Step::Waiting(number) => self.wait(number, cx),
            Step::Entering | Step::In => return Poll::Ready(()),
        };
        if let Step::Waiting(number) = self.step {
            let alarm = self.alarm.get_or_insert_with(Alarm::new);
            if alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
            // Rule 5.
            self.leave(number);
            let background = Snapshot::take(Seen::is_detached);
            if let Some(oldest) = background.first() {
                report::long_wait(name, oldest.name());
            }
            self.step = Step::Entering;
        }
        self.alarm = None;
        if self.is_guard {
            self.hold();
        }
        Poll::Ready(())
    }

    fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Waiting(_))
    }

    fn go_in(&mut self, holds_something: bool) {
        self.step = Step::In;
        if holds_something {
            self.hold();
        }
    }

    fn is_in(&mut self) {
        if let Step::Entering = self.step {
            self.step = Step::In;
            let_in(1);
        }
    }
}

impl Entrance {
    /// Lets the enter in if there is room, and makes it wait otherwise (rule 1).
    fn come(&self, cx: &Context<'_>) -> Step {
        if tasks().get(&self.root).is_some_and(|task| task.guards > 0) {
            return Step::Entering;
        }
        if has_room() {
            return Step::Entering;
        }
        let waker = cx.waker().clone();
        let mut door = door();
        if has_room() {
            return Step::Entering;
        }
        let number = door.next;
        door.next += 1;
        door.waiting.insert(number, waker);
        drop(door);
        self.wait_at_task(number, cx)
    }

    fn wait(&self, number: u64, cx: &Context<'_>) -> Step {
        let mut waker = cx.waker().clone();
        let mut door = door();
        let Some(known) = door.waiting.get_mut(&number) else {
            drop(door);
            self.leave_task(number);
            return Step::Entering;
        };
        mem::swap(known, &mut waker);
        drop(door);
        self.wait_at_task(number, cx)
    }

    /// Makes the enter wait, unless its task holds a guard (rule 4).
    fn wait_at_task(&self, number: u64, cx: &Context<'_>) -> Step {
        let waker = cx.waker().clone();
        let mut tasks = tasks();
        let task = tasks.entry(self.root).or_default();
        if task.guards == 0 {
            let old = task.waiting.insert(number, waker);
            drop(tasks);
            drop(old);
            return Step::Waiting(number);
        }
        drop(tasks);
        self.leave(number);
        Step::Entering
    }

    /// Ends the wait. If the enter was let in meanwhile, its turn goes to the next enter.
    fn leave(&self, number: u64) {
        let waited = door().waiting.remove(&number);
        self.leave_task(number);
        if waited.is_none() {
            let_in(1);
        }
    }

    fn leave_task(&self, number: u64) {
        let mut tasks = tasks();
        let waited = tasks
            .get_mut(&self.root)
            .and_then(|task| task.waiting.remove(&number));
        self.tidy(&mut tasks);
        drop(tasks);
        drop(waited);
    }

    fn tidy(&self, tasks: &mut Tasks) {
        let is_idle = |task: &Task| task.guards == 0 && task.waiting.is_empty();
        if tasks.get(&self.root).is_some_and(is_idle) {
            tasks.remove(&self.root);
        }
    }

    fn hold(&mut self) {
        self.holds = true;
        let mut tasks = tasks();
        let task = tasks.entry(self.root).or_default();
        task.guards += 1;
        let waiting = mem::take(&mut task.waiting);
        drop(tasks);
        waiting.into_values().for_each(Waker::wake);
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        match self.step {
            Step::Waiting(number) => self.leave(number),
            Step::Entering => let_in(1),
            Step::Outside | Step::In => {}
        }
        if self.holds {
            let mut tasks = tasks();
            if let Some(task) = tasks.get_mut(&self.root) {
                task.guards = task.guards.saturating_sub(1);
            }
            self.tidy(&mut tasks);
        }
    }
}
