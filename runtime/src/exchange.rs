//! The [`Life`] of a context, and the [`Exchange`], through which its code and its holder pass the
//! value and the outcome.
//!
//! | from | to | by | when |
//! | --- | --- | --- | --- |
//! | `Entering` | `Lent` | the code, [`has_offered`](Life::has_offered) | it yields, or its enter has ended well |
//! | `Lent` | `BodyOver` | the holder, [`end_body`](Life::end_body) | the body has ended, or was given up |
//! | `BodyOver` | `Exiting` | the holder, [`begin_exit`](Life::begin_exit) | the turn of this exit has come |
//! | `Exiting` | `Closing` | the code, [`begin_closing`](Life::begin_closing) | it takes value and outcome |
//! | `Closing` | `Over` | the poll, [`Running`] | the code has returned, or panicked |
//! | any other | `OverEarly` | the poll, [`Running`] | the code has returned, or panicked, before it took the value |
//!
//! A context that is given up in its body goes to `BodyOver` at once, with the outcome `Cancelled`.
//! In any other stage it stays where it is, and the background drives it on from there.
//!
//! A future may run *beside* the body, from the yield to the beginning of exit. The future is a
//! part of the code. It begins in the poll in which the code yields, and the holder polls it from
//! then on. [`Beside`] tells how far the future is. If the future ends the body, its error or panic
//! is kept here for the holder.
//!
//! From the yield to the exit, the value stays in its [`Slot`], where the body borrows it. A holder
//! that cannot lend the value in this way takes it out and puts it back. For example, a guard does
//! so, because its body is the caller's own code.
//!
//! Code and holder of an exchange take turns with the value. While the body has the value, the
//! holder holds the lock. If it polls the code then, only the future beside the body runs, which
//! does not touch the value. So nobody asks for the lock while it is held. The lock exists because
//! the compiler cannot know this. It can be held over an await, and costs one atomic operation.

use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;

use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::lock::lock;
use crate::outcome::{BodyError, BodyPanic, Outcome};
use crate::panic::Payload;
use crate::report::Kind;

/// A value and the life of its context, for code that has a [`Link`] to them.
pub(crate) struct Exchange<V> {
    life: Life,
    value: SpinMutex<Option<V>>,
}

/// All state of a context except the value, whose type does not matter here.
pub(crate) struct Life {
    /// A [`Stage`].
    stage: AtomicU8,
    /// The number of marks, each of which allows the caller to give up now: see [`Mark`].
    marks: AtomicUsize,
    /// `true` if exit has a time limit of its own.
    is_limited: AtomicBool,
    /// `true` if exit exceeded its limit and was dropped.
    is_cut_off: AtomicBool,
    /// `true` if an outer context has lent the value to the body, and that body has ended.
    has_ended_around: AtomicBool,
    /// How the body ended, if it did not complete.
    outcome: OnceLock<Outcome>,
    /// `Some` if a future runs beside the body. Boxed, because this is rare.
    company: OnceLock<Box<Company>>,
}

/// The state of the future beside the body.
#[derive(Default)]
struct Company {
    /// A [`Beside`].
    beside: AtomicU8,
    /// The error or panic that has ended the body, until the holder takes it.
    end: Mutex<Option<End<BodyError>>>,
}

/// How far a context is, in order. The table is at the top of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Enter runs, or has not begun.
    Entering,
    /// The body has the value.
    Lent,
    /// Exit waits for its turn.
    BodyOver,
    /// Exit may run.
    Exiting,
    /// The code of exit has the value.
    Closing,
    /// The code has returned, or panicked.
    Over,
    /// The code has returned, or panicked, without taking the value. If there ever was a value, it
    /// is still here.
    OverEarly,
}

impl Stage {
    const ALL: [Self; 7] = [
        Self::Entering,
        Self::Lent,
        Self::BodyOver,
        Self::Exiting,
        Self::Closing,
        Self::Over,
        Self::OverEarly,
    ];
}

/// How far the future beside the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Beside {
    /// No future runs beside the body.
    Nothing,
    Running,
    /// The future has ended the body, and the holder does not know yet.
    Ended,
    /// As `Ended`, but the future has more to run.
    EndedAndRunning,
}

impl Beside {
    const ALL: [Self; 4] = [
        Self::Nothing,
        Self::Running,
        Self::Ended,
        Self::EndedAndRunning,
    ];
}

/// How the future beside the body ended the body.
pub(crate) enum End<E> {
    Failed(E),
    Panicked(Payload),
}

impl End<BodyError> {
    /// Returns the outcome of a body that has ended so.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Failed(error) => Outcome::Failed(error.share()),
            Self::Panicked(payload) => Outcome::Panicked(BodyPanic::new(&**payload)),
        }
    }

    /// Turns the end into the result of a future that runs beside the body of an outer context. `E`
    /// is the error of the context whose future has caused the end.
    ///
    /// # Panics
    ///
    /// If the end is a panic, which this function resumes.
    pub(crate) fn into_result<E: Send + Sync + 'static>(self) -> Result<(), E> {
        match self {
            Self::Failed(error) => Err(error.into_error()),
            Self::Panicked(payload) => resume_unwind(payload),
        }
    }
}

pub(crate) type Link<V> = Arc<Exchange<V>>;

/// Lets `Arc::default()` build the exchange on the heap, because a move of the exchange costs as
/// much as a move of the value.
impl<V> Default for Exchange<V> {
    #[inline]
    fn default() -> Self {
        Self {
            life: Life::default(),
            value: SpinMutex::new(None),
        }
    }
}

impl<V> Deref for Exchange<V> {
    type Target = Life;

    #[inline]
    fn deref(&self) -> &Life {
        &self.life
    }
}

impl Default for Life {
    #[inline]
    fn default() -> Self {
        Self {
            stage: AtomicU8::new(Stage::Entering as u8),
            marks: AtomicUsize::new(0),
            is_limited: AtomicBool::new(false),
            is_cut_off: AtomicBool::new(false),
            has_ended_around: AtomicBool::new(false),
            outcome: OnceLock::new(),
            company: OnceLock::new(),
        }
    }
}

impl<V> Exchange<V> {
    fn value(&self) -> SpinMutexGuard<'_, Option<V>> {
        let value = self.value.try_lock();
        value.expect("code and holder take turns: a context yields once, in its own code")
    }

    /// Stores the yielded value.
    ///
    /// # Panics
    ///
    /// If the code has yielded before.
    #[inline]
    pub(crate) fn offer(&self, value: V) {
        *self.value() = Some(value);
        // Checked after the value is stored. If the check came first, a large value would be moved
        // once more, for the case that the check panics.
        let is_first = !self.has_yielded();
        assert!(is_first, "a context yields once, and this is a second time");
        self.has_offered();
    }

    pub(crate) fn take(&self) -> Option<V> {
        self.value().take()
    }

    pub(crate) fn put(&self, value: V) {
        *self.value() = Some(value);
    }

    /// Returns the value and the outcome once exit may run and the value is back.
    #[inline]
    pub(crate) fn poll_returned(&self) -> Poll<(V, &Outcome)> {
        if !self.is_at(Stage::Exiting) {
            return Poll::Pending;
        }
        let Some(value) = self.value().take() else {
            return Poll::Pending;
        };
        Poll::Ready((value, self.begin_closing()))
    }
}

impl Life {
    #[inline]
    pub(crate) fn stage(&self) -> Stage {
        let stage = usize::from(self.stage.load(Ordering::Acquire));
        Stage::ALL[stage]
    }

    #[inline]
    fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    #[inline]
    pub(crate) fn has_offered(&self) {
        self.set_stage(Stage::Lent);
    }

    /// Records that the code takes the value, and returns the outcome.
    #[inline]
    pub(crate) fn begin_closing(&self) -> &Outcome {
        self.set_stage(Stage::Closing);
        self.outcome.get().unwrap_or(Outcome::COMPLETED)
    }

    /// Returns `true` if the context is entering, and waits for something that may be given up.
    pub(crate) fn is_cancellable(&self) -> bool {
        self.is_at(Stage::Entering) && self.marks.load(Ordering::Acquire) > 0
    }

    #[inline]
    pub(crate) fn has_yielded(&self) -> bool {
        !self.is_at(Stage::Entering)
    }

    /// Returns `true` if exit waits for its turn.
    #[inline]
    pub(crate) fn is_body_over(&self) -> bool {
        self.is_at(Stage::BodyOver)
    }

    /// Returns `true` if the code has returned, or panicked, after it took the value.
    #[inline]
    pub(crate) fn has_ended_well(&self) -> bool {
        self.is_at(Stage::Over)
    }

    #[inline]
    fn is_at(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) == stage as u8
    }

    /// Returns `true` if the body has the value, and has not ended.
    #[inline]
    pub(crate) fn is_lent(&self) -> bool {
        self.is_at(Stage::Lent)
    }

    /// Records that the body has ended, for a context whose value an outer context has lent to the
    /// body. The stage of this context changes only when the outer exit begins. Returns `true` if
    /// this was not known before.
    pub(crate) fn end_around(&self) -> bool {
        !self.has_ended_around.swap(true, Ordering::AcqRel)
    }

    /// Returns `true` while the body runs. In contrast to [`is_lent`](Self::is_lent), this method
    /// returns `false` once the body of the outer context has ended that has lent the value.
    pub(crate) fn has_a_body(&self) -> bool {
        self.is_lent() && !self.has_ended_around.load(Ordering::Acquire)
    }

    /// Returns `true` if exit may run, or has run. The next poll of the code is then a poll of
    /// exit.
    #[inline]
    pub(crate) fn is_exiting(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= Stage::Exiting as u8
    }

    /// Returns `true` if the code has returned, or panicked.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= Stage::Over as u8
    }

    #[inline]
    fn beside(&self) -> Beside {
        let Some(company) = self.company.get() else {
            return Beside::Nothing;
        };
        let beside = usize::from(company.beside.load(Ordering::Acquire));
        Beside::ALL[beside]
    }

    /// Returns `true` if a future runs beside the body, or if the future has ended the body and the
    /// holder does not know yet.
    #[inline]
    pub(crate) fn is_accompanied(&self) -> bool {
        self.beside() != Beside::Nothing
    }

    /// Returns `true` if a future runs beside the body.
    pub(crate) fn runs_beside(&self) -> bool {
        matches!(self.beside(), Beside::Running | Beside::EndedAndRunning)
    }

    /// Returns `true` if the holder must poll the future beside the body. If the future has ended
    /// the body, the holder must take that end first, because each poll of the code may convert the
    /// error of an end.
    pub(crate) fn wants_a_poll_beside(&self) -> bool {
        self.beside() == Beside::Running
    }

    /// Returns `true` if the future beside the body has ended the body, and the holder does not
    /// know yet.
    pub(crate) fn has_end(&self) -> bool {
        matches!(self.beside(), Beside::Ended | Beside::EndedAndRunning)
    }

    fn set_beside(&self, beside: Beside) {
        let company = self.company.get_or_init(Box::default);
        company.beside.store(beside as u8, Ordering::Release);
    }

    pub(crate) fn begin_beside(&self) {
        self.set_beside(Beside::Running);
    }

    /// Records that no future runs beside the body any more. An error or panic that has ended the
    /// body is kept.
    #[inline]
    pub(crate) fn stop_beside(&self) {
        match self.beside() {
            Beside::Running => self.set_beside(Beside::Nothing),
            Beside::EndedAndRunning => self.set_beside(Beside::Ended),
            Beside::Nothing | Beside::Ended => {}
        }
    }

    /// Records how the future beside the body ends the body. If `goes_on` is `true`, the future has
    /// more to run. `E` is the error of the context.
    pub(crate) fn end_from_beside<E>(&self, end: End<E>, goes_on: bool)
    where
        E: fmt::Debug + Send + Sync + 'static,
    {
        let end = match end {
            End::Failed(error) => End::Failed(BodyError::new(Arc::new(error))),
            End::Panicked(payload) => End::Panicked(payload),
        };
        let company = self.company.get_or_init(Box::default);
        *lock(&company.end) = Some(end);
        self.set_beside(if goes_on {
            Beside::EndedAndRunning
        } else {
            Beside::Ended
        });
    }

    /// Takes the error or panic by which the future beside the body has ended the body, if there is
    /// one.
    #[inline]
    pub(crate) fn take_end(&self) -> Option<End<BodyError>> {
        if self.is_accompanied() {
            self.take_end_of_company()
        } else {
            None
        }
    }

    #[cold]
    fn take_end_of_company(&self) -> Option<End<BodyError>> {
        match self.beside() {
            Beside::Nothing | Beside::Running => return None,
            Beside::Ended => self.set_beside(Beside::Nothing),
            Beside::EndedAndRunning => self.set_beside(Beside::Running),
        }
        lock(&self.company.get()?.end).take()
    }

    /// Converts the error by which the future beside the body ends it. If the conversion panics,
    /// that panic ends the body instead.
    #[inline]
    pub(crate) fn convert_end<A, B>(&self, convert: impl FnOnce(A) -> B)
    where
        A: Send + Sync + 'static,
        B: fmt::Debug + Send + Sync + 'static,
    {
        let Some(end) = self.take_end() else { return };
        let goes_on = self.runs_beside();
        let end = match end {
            End::Failed(error) => {
                let convert = AssertUnwindSafe(|| convert(error.into_error()));
                catch_unwind(convert).map_or_else(End::Panicked, End::Failed)
            }
            End::Panicked(payload) => End::Panicked(payload),
        };
        self.end_from_beside(end, goes_on);
    }

    /// Begins a poll of the code. The poll lasts until the result is dropped.
    #[inline]
    pub(crate) fn run(&self) -> Running<'_> {
        Running {
            life: self,
            is_over: true,
        }
    }

    #[inline]
    pub(crate) fn end_body(&self, outcome: Outcome) {
        if !outcome.is_completed() {
            self.keep(outcome);
        }
        self.set_stage(Stage::BodyOver);
    }

    #[cold]
    fn keep(&self, outcome: Outcome) {
        let is_first = self.outcome.set(outcome).is_ok();
        debug_assert!(is_first, "a body ends once");
    }

    /// Records that this exit has nothing left to wait for.
    #[inline]
    pub(crate) fn begin_exit(&self) {
        self.set_stage(Stage::Exiting);
    }

    /// Records that exit has a time limit of its own.
    pub(crate) fn limit(&self) {
        self.is_limited.store(true, Ordering::Release);
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Acquire)
    }

    /// Records that exit exceeded its limit and was dropped. The error of exit is then reported as
    /// a timeout, whatever its type is.
    pub(crate) fn cut_off(&self) {
        self.is_cut_off.store(true, Ordering::Release);
    }

    /// Returns the kind of report for an error of exit that nobody receives.
    pub(crate) fn failed_as(&self) -> Kind {
        if self.is_cut_off.load(Ordering::Acquire) {
            Kind::TimedOut
        } else {
            Kind::ExitFailed
        }
    }
}

/// A poll of the code. When this drops, the code is over, unless it [goes on](Self::goes_on).
pub(crate) struct Running<'x> {
    life: &'x Life,
    is_over: bool,
}

impl Running<'_> {
    /// Records that another poll will follow.
    #[inline]
    pub(crate) fn goes_on(mut self) {
        self.is_over = false;
    }
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_over {
            let has_the_value = self.life.is_at(Stage::Closing);
            self.life.set_stage(if has_the_value {
                Stage::Over
            } else {
                Stage::OverEarly
            });
        }
    }
}

/// The holder's access to the value of a context.
pub(crate) enum Slot<'x, V> {
    /// The value is in an [`Exchange`], which the code shares.
    Shared(&'x Link<V>),
    /// The value is kept beside the code, which does not see it.
    Own(&'x mut Option<V>),
}

impl<'x, V> Slot<'x, V> {
    #[inline]
    pub(crate) fn lend(self) -> Lent<'x, V> {
        match self {
            Self::Shared(link) => Lent::Shared(link.value()),
            Self::Own(value) => Lent::Own(value),
        }
    }

    #[inline]
    pub(crate) fn take(self) -> Option<V> {
        match self {
            Self::Shared(link) => link.take(),
            Self::Own(value) => value.take(),
        }
    }

    #[inline]
    pub(crate) fn put(self, value: V) {
        match self {
            Self::Shared(link) => link.put(value),
            Self::Own(own) => *own = Some(value),
        }
    }

    #[inline]
    pub(crate) fn has_value(self) -> bool {
        match self {
            Self::Shared(link) => link.value().is_some(),
            Self::Own(value) => value.is_some(),
        }
    }
}

/// The value, while the body has it.
pub(crate) enum Lent<'x, V> {
    Shared(SpinMutexGuard<'x, Option<V>>),
    Own(&'x mut Option<V>),
}

impl<V> Lent<'_, V> {
    pub(crate) fn value(&mut self) -> &mut V {
        let value = match self {
            Self::Shared(value) => value.as_mut(),
            Self::Own(value) => value.as_mut(),
        };
        value.expect("it is lent between enter and exit, and once at a time")
    }
}

/// The way back for a value that the holder has taken and lent to somebody else. The value comes
/// back when the loan ends.
pub(crate) struct Loan<V>(Link<V>);

impl<V> Loan<V> {
    pub(crate) fn new(link: &Link<V>) -> Self {
        Self(Arc::clone(link))
    }

    /// Takes the value that the code has lent.
    pub(crate) fn begin(&self) -> Option<V> {
        self.0.take()
    }

    pub(crate) fn end(&self, value: V) {
        if self.0.is_lent() {
            self.0.put(value);
        }
    }
}

/// While a mark exists, a caller that gives up drops the context at once.
///
/// The mark borrows the exchange. If it held an `Arc`, a mark that is forgotten by `mem::forget`
/// would keep the exchange alive, with its share in the body's error.
pub(crate) struct Mark<'x, V>(&'x Exchange<V>);

impl<'x, V> Mark<'x, V> {
    pub(crate) fn new(exchange: &'x Exchange<V>) -> Self {
        exchange.marks.fetch_add(1, Ordering::AcqRel);
        Self(exchange)
    }
}

impl<V> Drop for Mark<'_, V> {
    fn drop(&mut self) {
        self.0.marks.fetch_sub(1, Ordering::AcqRel);
    }
}
