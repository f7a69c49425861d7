//! Where the value and the outcome change hands, between the code of a context and its holder.
//!
//! ```text
//!  Entering ──offer──▶ Offered ──give_back──▶ Returned ──poll_returned──▶ Exiting ──cut_off──▶ Cut off
//! ```
//!
//! The value stays in here from the yield to the exit: it is lent to the body where it is, and not moved. A
//! holder who can't lend it so (a guard, say, whose body is the caller's own code) takes it out, and puts it
//! back.
//!
//! Code and holder take turns: whoever holds the context polls the code, or drops it, and uses the
//! exchange only between those. So the lock is always free. It is there because the compiler can't know
//! that, and it is one that can be held over an await of the body, and costs one atomic operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::Poll;

use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::outcome::Outcome;
use crate::report::Kind;

pub(crate) struct Exchange<V> {
    phase: AtomicU8,
    /// How many things make it safe to give up now: see [`Mark`].
    marks: AtomicUsize,
    goods: SpinMutex<Goods<V>>,
}

struct Goods<V> {
    value: Option<V>,
    /// Of a body that has failed, or panicked.
    outcome: Option<Outcome>,
}

const ENTERING: u8 = 0;
const OFFERED: u8 = 1;
/// The value has come back, with the outcome that is with it; without one, the body was cancelled.
const RETURNED: u8 = 2;
/// The value has come back from a body that completed, as most do.
const COMPLETED: u8 = 3;
const EXITING: u8 = 4;
/// Exit was over its limit, and dropped.
const CUT_OFF: u8 = 5;

pub(crate) type Link<V> = Arc<Exchange<V>>;

impl<V> Default for Exchange<V> {
    fn default() -> Self {
        let goods = Goods {
            value: None,
            outcome: None,
        };
        Self {
            phase: AtomicU8::new(ENTERING),
            marks: AtomicUsize::new(0),
            goods: SpinMutex::new(goods),
        }
    }
}

impl<V> Exchange<V> {
    fn goods(&self) -> SpinMutexGuard<'_, Goods<V>> {
        let goods = self.goods.try_lock();
        goods.expect("code and holder take turns: a context yields once, in its own code")
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }

    fn set_phase(&self, phase: u8) {
        self.phase.store(phase, Ordering::Release);
    }

    /// The code yields.
    ///
    /// # Panics
    ///
    /// If it has yielded before.
    #[inline]
    pub(crate) fn offer(&self, value: V) {
        self.goods().value = Some(value);
        // Now, because before that a large value would be moved once more, to drop where this panics.
        let is_first = self.phase() == ENTERING;
        assert!(is_first, "a context yields once, and this is a second time");
        self.set_phase(OFFERED);
    }

    #[inline]
    pub(crate) fn is_offered(&self) -> bool {
        self.phase() == OFFERED
    }

    /// Is it entering, in an await that may be given up?
    pub(crate) fn is_cancellable(&self) -> bool {
        self.phase() == ENTERING && self.marks.load(Ordering::Acquire) > 0
    }

    /// Has it yielded?
    pub(crate) fn is_exiting(&self) -> bool {
        self.phase() != ENTERING
    }

    /// Returns `true` if the code of exit has taken the value.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.phase() >= EXITING
    }

    /// For the body.
    #[inline]
    pub(crate) fn lend(&self) -> Lent<'_, V> {
        Lent(self.goods())
    }

    pub(crate) fn take(&self) -> Option<V> {
        self.goods().value.take()
    }

    pub(crate) fn put(&self, value: V) {
        self.goods().value = Some(value);
    }

    pub(crate) fn has_value(&self) -> bool {
        self.goods().value.is_some()
    }

    /// The body has ended so.
    #[inline]
    pub(crate) fn give_back(&self, outcome: Outcome) {
        let phase = match outcome {
            Outcome::Completed => COMPLETED,
            Outcome::Cancelled => RETURNED,
            outcome @ (Outcome::Failed(_) | Outcome::Panicked(_)) => {
                self.goods().outcome = Some(outcome);
                RETURNED
            }
        };
        self.set_phase(phase);
    }

    /// Exit was over its limit, and has been dropped. Its error says that, in whatever type.
    pub(crate) fn cut_off(&self) {
        self.set_phase(CUT_OFF);
    }

    /// As what the error of exit is reported, if nobody gets it.
    pub(crate) fn failed_as(&self) -> Kind {
        match self.phase() {
            CUT_OFF => Kind::TimedOut,
            _ => Kind::ExitFailed,
        }
    }

    /// The code goes on, with exit.
    #[inline]
    pub(crate) fn poll_returned(&self) -> Poll<(V, Outcome)> {
        let phase = self.phase();
        if !matches!(phase, COMPLETED | RETURNED) {
            return Poll::Pending;
        }
        let mut goods = self.goods();
        let outcome = match phase {
            COMPLETED => Outcome::Completed,
            _ => goods.outcome.take().unwrap_or(Outcome::Cancelled),
        };
        let Some(value) = goods.value.take() else {
            return Poll::Pending;
        };
        self.set_phase(EXITING);
        Poll::Ready((value, outcome))
    }
}

/// The value, while the body has it.
pub(crate) struct Lent<'x, V>(SpinMutexGuard<'x, Goods<V>>);

impl<V> Lent<'_, V> {
    pub(crate) fn value(&mut self) -> &mut V {
        let value = self.0.value.as_mut();
        value.expect("it is lent between enter and exit, and once at a time")
    }
}

/// A value that the holder lends on: it comes back when the loan ends.
pub(crate) struct Loan<V>(Link<V>);

impl<V> Loan<V> {
    pub(crate) fn new(link: &Link<V>) -> Self {
        Self(Arc::clone(link))
    }

    pub(crate) fn end(&self, value: V) {
        if self.0.is_offered() {
            self.0.put(value);
        }
    }
}

/// While it is there, a caller who gives up drops the context on the spot.
pub(crate) struct Mark<V>(Link<V>);

impl<V> Mark<V> {
    pub(crate) fn new(link: &Link<V>) -> Self {
        link.marks.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(link))
    }
}

impl<V> Drop for Mark<V> {
    fn drop(&mut self) {
        self.0.marks.fetch_sub(1, Ordering::AcqRel);
    }
}
