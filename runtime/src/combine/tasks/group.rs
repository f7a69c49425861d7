//! The state that the tasks of a group, the body, and the code of the context share.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::combine::trouble::Trouble;
use crate::lock::lock;
use crate::panic::Payload;
use crate::report::{self, Failing, Kind};
use crate::time_limit::within;

/// The name in reports.
pub(super) const NAME: &str = "async_context_manager::tasks";

const FAILING: Failing = Failing {
    context: NAME,
    kind: Kind::ExitFailed,
};

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Policy {
    pub(super) fails_fast: bool,
    pub(super) limit: Option<usize>,
    pub(super) grace: Option<Duration>,
}

/// The tasks that have not been joined yet. The tasks hold no reference to this struct, so it drops
/// with the context. The drop aborts the tasks.
#[derive(Default)]
pub(super) struct Running {
    pub(super) tasks: JoinSet<()>,
    pub(super) background: JoinSet<()>,
}

/// The part of the state that the tasks hold as well.
pub(super) struct Group<E: fmt::Debug + Send + Sync + 'static> {
    pub(super) policy: Policy,
    trouble: Mutex<Kept<E>>,
    /// `true` once a task has failed in a group that fails fast: no more tasks begin.
    is_failing: AtomicBool,
    failing: Notify,
    told: watch::Sender<Option<Instant>>,
    slots: Option<Arc<Semaphore>>,
}

/// The failures of tasks. A task adds its own failure when it ends. Only the first error and the
/// first panic are kept. Each other failure is reported at once, so what the group keeps does not
/// grow.
struct Kept<E: fmt::Debug + Send + Sync + 'static> {
    first: Trouble<E>,
    /// `true` once the first failure has ended the body.
    is_given: bool,
}

impl<E: fmt::Debug + Send + Sync + 'static> Group<E> {
    pub(super) fn new(policy: Policy) -> Self {
        let slots = |limit: usize| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Self {
            policy,
            trouble: Mutex::new(Kept {
                first: Trouble::new(),
                is_given: false,
            }),
            is_failing: AtomicBool::new(false),
            failing: Notify::new(),
            told: watch::Sender::new(None),
            slots: policy.limit.map(slots),
        }
    }

    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slots = Arc::clone(self.slots.as_ref()?);
        let slot = slots.acquire_owned().await;
        Some(slot.expect("nobody closes the semaphore"))
    }

    /// As `slot`, but returns `None` if the task would have to wait. If this method returns a slot,
    /// no task waits in the queue.
    pub(super) fn slot_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.slots.as_ref()?).try_acquire_owned().ok()
    }

    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }

    pub(super) fn add(&self, ended: Result<Result<(), E>, Payload>) {
        if let Ok(Ok(())) = ended {
            return;
        }
        let mut kept = lock(&self.trouble);
        let is_late = kept.is_given || (self.policy.fails_fast && !kept.first.is_none());
        let rest = if is_late {
            let mut rest = Trouble::new();
            rest.add(FAILING, ended);
            rest
        } else {
            kept.first.add_first(FAILING, ended)
        };
        drop(kept);
        if self.policy.fails_fast {
            self.is_failing.store(true, Ordering::Release);
            self.failing.notify_one();
        }
        // The drop reports these failures. It comes after the lock is free, because the hook is
        // code of the user.
        drop(rest);
    }

    /// Takes the failures that have not ended the body, for exit.
    pub(super) fn take_trouble(&self) -> Trouble<E> {
        mem::replace(&mut lock(&self.trouble).first, Trouble::new())
    }

    /// Waits for the first failure of a task, which then ends the body, if it still runs. Otherwise
    /// the failure is kept for exit. The other tasks are told to end. Without a grace, they are
    /// aborted as well.
    ///
    /// # Panics
    ///
    /// If the failure is a panic.
    pub(super) async fn first_failure(
        &self,
        running: &Mutex<Running>,
        has_a_body: impl Fn() -> bool,
    ) -> Result<(), E> {
        loop {
            self.failing.notified().await;
            let mut kept = lock(&self.trouble);
            if kept.first.is_none() {
                continue;
            }
            let first = has_a_body().then(|| {
                kept.is_given = true;
                mem::replace(&mut kept.first, Trouble::new())
            });
            drop(kept);
            self.tell();
            if self.policy.grace.is_none() {
                let mut running = lock(running);
                running.tasks.abort_all();
                running.background.abort_all();
            }
            return first.map_or(Ok(()), Trouble::settle);
        }
    }

    /// Tells the token. Only the first call counts.
    pub(super) fn tell(&self) {
        self.told.send_if_modified(|moment| {
            let is_new = moment.is_none();
            moment.get_or_insert_with(Instant::now);
            is_new
        });
    }

    pub(super) fn moment(&self) -> watch::Receiver<Option<Instant>> {
        self.told.subscribe()
    }

    fn rest_of_grace(&self) -> Option<Duration> {
        let told = *self.told.borrow();
        let gone = told.map_or(Duration::ZERO, |told| told.elapsed());
        self.policy.grace.map(|grace| grace.saturating_sub(gone))
    }

    /// Tells all tasks to end, and waits until none is left.
    pub(super) async fn end(&self, mut running: Running, is_completed: bool) {
        self.tell();
        running.background.abort_all();
        let grace = self.rest_of_grace();
        let mut is_aborted = grace.is_none() && !is_completed;
        if let Some(grace) = grace {
            let joined = self.join(&mut running.tasks, is_completed, false);
            if within(grace, joined).await.is_none() {
                is_aborted = true;
                if is_completed {
                    report::plain(NAME, Kind::TimedOut);
                }
            }
        }
        if is_aborted {
            running.tasks.abort_all();
        }
        let ends_at_failure = self.policy.fails_fast && grace.is_none();
        let is_awaited = is_completed && !is_aborted;
        self.join(&mut running.tasks, is_awaited, ends_at_failure)
            .await;
        while let Some(ended) = running.background.join_next().await {
            self.note(ended, false);
        }
    }

    async fn join(&self, tasks: &mut JoinSet<()>, is_awaited: bool, ends_at_failure: bool) {
        let mut is_awaited = is_awaited;
        loop {
            if ends_at_failure && is_awaited && self.is_failing() {
                tasks.abort_all();
                is_awaited = false;
            }
            let Some(ended) = tasks.join_next().await else {
                return;
            };
            self.note(ended, is_awaited);
        }
    }

    fn note(&self, ended: Result<(), JoinError>, is_awaited: bool) {
        let Err(error) = ended else { return };
        match error.try_into_panic() {
            // The panic came from the drop of something that the task held.
            Ok(payload) => self.add(Err(payload)),
            Err(_) if is_awaited => report::plain(NAME, Kind::Lost),
            Err(_) => {}
        }
    }

    /// Joins the tasks that have ended, so that nothing of them is left.
    pub(super) fn sweep(&self, running: &Mutex<Running>) {
        let is_awaited = !self.is_failing();
        let mut failed = Vec::new();
        {
            let Running { tasks, background } = &mut *lock(running);
            for set in [tasks, background] {
                while let Some(ended) = set.try_join_next() {
                    failed.extend(ended.err());
                }
            }
        }
        // After the lock is free, because the hook for reports is code of the user.
        for error in failed {
            self.note(Err(error), is_awaited);
        }
    }
}
