//! A program that is polled when it is woken, and dropped at a given moment.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::panic::Payload;

/// How often a program may be polled: otherwise a program that never ends would run for ever.
const LIMIT: usize = 5_000;

/// When a program is dropped, unless it has ended by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Immediately after this number of polls.
    After(usize),
    /// After this number of polls, when the program has been woken for the next.
    WokenAfter(usize),
    Never,
}

impl Moment {
    /// All moments from poll `from` on, for a program that ends at poll `end`.
    pub(super) fn from_to(from: usize, end: usize) -> impl Iterator<Item = Self> {
        (from..end).flat_map(|polls| {
            // Before its first poll, nothing can wake it.
            let woken = (polls > 0).then_some(Self::WokenAfter(polls));
            [Some(Self::After(polls)), woken].into_iter().flatten()
        })
    }
}

pub(super) struct Polled<F: Future> {
    /// `None` when it has ended, or was dropped.
    program: Option<Pin<Box<F>>>,
    moment: Moment,
    waker: Waker,
    woken: Arc<Woken>,
    pub(super) polls: usize,
    pub(super) ended: Option<Result<F::Output, Payload>>,
}

struct Woken {
    is_woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future> Polled<F> {
    pub(super) fn new(program: F, moment: Moment) -> Self {
        let woken = Arc::new(Woken {
            is_woken: AtomicBool::new(true),
            task: Mutex::new(None),
        });
        Self {
            program: Some(Box::pin(program)),
            moment,
            waker: Waker::from(Arc::clone(&woken)),
            woken,
            polls: 0,
            ended: None,
        }
    }

    /// Polls the program if it was woken, and drops it if its moment has come. Ready when the
    /// program has gone.
    ///
    /// # Panics
    ///
    /// If the program was polled too often, or if what it owns panics while it drops.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.drop_at(Moment::After(self.polls));
        self.woken.wakes(cx.waker());
        if self.program.is_some() && self.woken.take() {
            self.drop_at(Moment::WokenAfter(self.polls));
            self.poll_now();
            self.drop_at(Moment::After(self.polls));
        }
        match self.program {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }

    fn poll_now(&mut self) {
        let Some(program) = &mut self.program else {
            return;
        };
        assert!(
            self.polls < LIMIT,
            "the program was polled {LIMIT} times, and has not ended: is it one that never does?"
        );
        self.polls += 1;
        let mut cx = Context::from_waker(&self.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| program.as_mut().poll(&mut cx)));
        self.ended = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(output)) => Some(Ok(output)),
            Err(payload) => Some(Err(payload)),
        };
        self.program = None;
    }

    fn drop_at(&mut self, moment: Moment) {
        if self.moment == moment {
            self.program = None;
        }
    }

    pub(super) fn is_dropped_woken(&self) -> bool {
        self.ended.is_none() && matches!(self.moment, Moment::WokenAfter(_))
    }
}

impl Woken {
    /// Makes the program's waker wake this task.
    fn wakes(&self, task: &Waker) {
        let mut place = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        place.get_or_insert_with(|| task.clone()).clone_from(task);
    }

    fn take(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let task = task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}
