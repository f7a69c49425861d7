//! The one form in which every context is driven: code that pauses in the middle, while the body
//! runs.
//!
//! A [`Coroutine`] is a box with [code](crate::code) that enters, lends its value, sleeps until the
//! value comes back with the outcome, and exits. Its holder drives it: a scope while the caller
//! waits, and the background once the caller has gone.
//!
//! Before its own code begins, an exit waits for its turn in the [order](crate::order) of exits.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;

use crate::code::{Company, Lends, Reached, Routine};
use crate::exchange::{End, Lent, Life, Slot, Stage};
use crate::observe::Watch;
use crate::order::{Kind as Hold, Place, Polled, Turn};
use crate::outcome::{BodyError, Outcome};
use crate::report::{self, Kind, drop_quietly};

/// A context under way, or `None` once the context is gone. `F` is the code of the context, or a
/// [`Code`] where the type of the code does not matter.
pub(crate) struct Coroutine<F: Lends + ?Sized>(Option<Boxed<F>>);

type Boxed<F> = Pin<Box<State<F>>>;

pin_project! {
    #[project = Parts]
    /// A whole context under way, in one box, so that its holder moves only a pointer.
    pub(crate) struct State<F: ?Sized> {
        name: &'static str,
        place: Place,
        // The body's error, which the caller is to get. If this drops before that, the error is
        // reported.
        owed: Option<BodyError>,
        // The wait for this exit's turn, while it lasts.
        turn: Option<Wait>,
        #[pin]
        code: F,
    }
}

pub(crate) type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The code of a coroutine that can run in the background, without its type.
pub(crate) type Code<V, D, E> = Borrowing<'static, V, D, E>;

/// A [`Code`] that may borrow.
pub(crate) type Borrowing<'a, V, D, E> = dyn Routine<Value = V, Output = Result<D, E>> + Send + 'a;

impl<F: Lends> Coroutine<F> {
    /// Makes a coroutine that has not run. Its first poll decides its place in the order of
    /// contexts.
    pub(crate) fn new(name: &'static str, watch: Watch, hold: Hold, code: F) -> Self {
        Self(Some(Box::pin(State::new(name, watch, hold, code))))
    }
}

impl<'a, V, D, E> Coroutine<Borrowing<'a, V, D, E>> {
    /// Makes a coroutine that has not run, from code whose type is erased.
    pub(crate) fn erased<F>(name: &'static str, watch: Watch, hold: Hold, code: F) -> Self
    where
        F: Routine<Value = V, Output = Result<D, E>> + Send + 'a,
    {
        Self(Some(Box::pin(State::new(name, watch, hold, code))))
    }
}

impl<F> State<F> {
    #[inline]
    fn new(name: &'static str, watch: Watch, hold: Hold, code: F) -> Self {
        Self {
            name,
            place: Place::new(hold, watch),
            owed: None,
            turn: None,
            code,
        }
    }
}

impl<F: Lends + ?Sized> Coroutine<F> {
    #[inline]
    fn state(&mut self) -> Parts<'_, F> {
        self.0.as_mut().expect(THERE).as_mut().project()
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.is_none()
    }

    /// Takes the coroutine out, unless it is gone or its code has ended.
    #[inline]
    pub(crate) fn take_unless_over(&mut self) -> Option<Self> {
        let state = self.0.as_ref()?;
        if state.code.life().is_over() {
            return None;
        }
        Some(self.take())
    }
}

impl<D, E, F> Coroutine<F>
where
    F: Routine<Output = Result<D, E>> + ?Sized,
{
    /// Continues enter.
    ///
    /// # Panics
    ///
    /// If enter panics, or if the code ends well without a yield, which the macro excludes.
    #[inline]
    pub(crate) fn poll_enter(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let mut state = self.state();
        let name = *state.name;
        if state.place.watch().poll_entrance(name, cx).is_pending() {
            return Poll::Pending;
        }
        match state.poll(cx, Polled::Open) {
            Reached::Lends => {
                state.place.entered();
                state.place.watch().entered(true);
                Poll::Ready(Ok(()))
            }
            Reached::Waits => {
                state.place.note();
                Poll::Pending
            }
            Reached::Ended(Err(error)) => {
                state.place.watch().entered(false);
                Poll::Ready(Err(error))
            }
            Reached::Ended(Ok(_)) => ended_without_a_yield(name),
        }
    }

    /// Returns the wait of a failed enter for the contexts that it opened and gave up. Returns the
    /// error as `Err` if there are no such contexts.
    #[cold]
    pub(crate) fn after_failed_enter(&mut self, error: E) -> Result<Afterwards<E>, E>
    where
        E: fmt::Debug + Send + Sync + 'static,
    {
        let name = self.name();
        let Some(turn) = self.place().turn_of_failed_enter(name) else {
            return Err(error);
        };
        let failed = Failed {
            name,
            error: Some(error),
        };
        Ok(Box::pin(failed.after(turn)))
    }

    /// Waits for the turn of this exit, and then continues exit.
    ///
    /// # Panics
    ///
    /// If exit panics.
    #[inline]
    pub(crate) fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<Result<D, E>> {
        let mut state = self.state();
        let name = *state.name;
        let life = state.code.life();
        if life.is_body_over() {
            if poll_turn(name, state.place, state.turn, cx).is_pending() {
                poll_beside_the_wait(name, state.place, state.code, cx);
                return Poll::Pending;
            }
            report_end(name, life);
            life.begin_exit();
        }
        match state.poll(cx, Polled::Exit) {
            Reached::Ended(exit) => {
                state.place.watch().exited(exit.is_err());
                Poll::Ready(exit)
            }
            Reached::Waits | Reached::Lends => {
                state.place.waits_in_exit(name);
                Poll::Pending
            }
        }
    }
}

/// The wait of a failed enter. Its output is the error of that enter.
pub(crate) type Afterwards<E> = Pin<Box<dyn Future<Output = E> + Send>>;

/// The error of an enter, which the caller is to get. If this drops before that, the error is
/// reported.
struct Failed<E: fmt::Debug + Send + Sync + 'static> {
    name: &'static str,
    error: Option<E>,
}

impl<E: fmt::Debug + Send + Sync + 'static> Failed<E> {
    async fn after(mut self, turn: Turn) -> E {
        turn.come().await;
        self.error.take().expect("only this and the drop take it")
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> Drop for Failed<E> {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            report::error(self.name, Kind::EnterFailed, Arc::new(error));
        }
    }
}

impl<F: Routine + ?Sized> Parts<'_, F> {
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "it is called twice in the life of a context that never waits"
    )]
    fn poll(&mut self, cx: &mut Context<'_>, part: Polled) -> Reached<F::Output> {
        let _polling = self.place.poll(part);
        self.code.as_mut().poll(cx)
    }
}

/// Polls the future beside the body while exit waits for its turn. If the future fails or panics
/// now, that is too late to end the body, and is reported.
#[cold]
fn poll_beside_the_wait<F: Routine + ?Sized>(
    name: &'static str,
    place: &mut Place,
    code: Pin<&mut F>,
    cx: &mut Context<'_>,
) {
    let (life, _, company) = code.split();
    report_end(name, life);
    if life.wants_a_poll_beside() {
        poll_beside(name, place, life, company, cx);
    }
    report_end(name, life);
    place.waits_in_exit(name);
}

/// Polls the future beside the body.
///
/// # Panics
///
/// If the code ends before its exit has begun, which the macro excludes.
#[cold]
fn poll_beside(
    name: &str,
    place: &mut Place,
    life: &Life,
    company: Pin<&mut (dyn Company + Send)>,
    cx: &mut Context<'_>,
) {
    let polling = place.poll(Polled::Open);
    let polled = company.poll_beside(life, cx);
    drop(polling);
    stands_at_its_yield(name, &polled);
}

/// The future beside the body, for the code that polls the body.
pub(crate) struct Companion<'c> {
    name: &'static str,
    life: &'c Life,
    company: Pin<&'c mut (dyn Company + Send + 'c)>,
}

impl Companion<'_> {
    /// See [`Life::is_accompanied`].
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        self.life.is_accompanied()
    }

    /// Continues the future beside the body. Returns `Ready` when that future has ended the body.
    ///
    /// # Panics
    ///
    /// If the code ends before its exit has begun, which the macro excludes.
    #[cold]
    pub(crate) fn poll(&mut self, place: &mut Place, cx: &mut Context<'_>) -> Poll<End<BodyError>> {
        if self.life.wants_a_poll_beside() {
            poll_beside(self.name, place, self.life, self.company.as_mut(), cx);
        }
        self.life.take_end().map_or(Poll::Pending, Poll::Ready)
    }

    /// Reports an error or panic of the future that came too late to end the body.
    pub(crate) fn report(&self, end: End<BodyError>) {
        report_late(self.name, end);
    }
}

/// Checks the result of a poll of the code that was made only for the future beside the body.
///
/// # Panics
///
/// If the code has ended, which the macro excludes.
pub(crate) fn stands_at_its_yield<T>(name: &str, polled: &Poll<T>) {
    assert!(
        polled.is_pending(),
        "the context `{name}` went on before its body had ended"
    );
}

/// Reports an error or panic that was to end the body but came too late.
#[inline]
pub(crate) fn report_end(name: &'static str, life: &Life) {
    if let Some(end) = life.take_end() {
        report_late(name, end);
    }
}

#[cold]
pub(crate) fn report_late(name: &'static str, end: End<BodyError>) {
    match end {
        End::Failed(error) => report::beside_failed(name, error),
        End::Panicked(payload) => report::panic(name, Kind::Panicked, payload),
    }
}

/// Returns `Ready` when the turn of this exit has come.
#[inline]
pub(crate) fn poll_turn(
    name: &'static str,
    place: &mut Place,
    turn: &mut Option<Wait>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if turn.is_some() || place.has_to_wait() {
        let wait = turn.get_or_insert_with(|| Box::pin(place.turn(name).come()));
        let polled = wait.as_mut().poll(cx);
        place.waits(name, polled.is_pending());
        ready!(polled);
        *turn = None;
    }
    place.begin_exit(name);
    Poll::Ready(())
}

/// The reason for an `expect` on a coroutine: no method is called once the coroutine is gone.
const THERE: &str = "the coroutine is there until exit has ended";

impl<F: Lends + ?Sized> Drop for Coroutine<F> {
    #[inline]
    fn drop(&mut self) {
        let Some(state) = &mut self.0 else {
            return;
        };
        let parts = state.as_mut().project();
        if parts.code.life().has_ended_well() && parts.owed.is_none() {
            // The code in the box has ended, and no value is left there.
            parts.place.watch().dropped(true);
        } else if let Some(state) = self.0.take() {
            drop_early(state);
        }
    }
}

/// Drops the value, the code and the error, as a part of the context's exit. Each has a type of the
/// user, so its drop may panic, even while the thread is panicking. Such a panic is caught and
/// reported.
#[cold]
fn drop_early<F: Lends + ?Sized>(mut state: Boxed<F>) {
    let parts = state.as_mut().project();
    let dropped = Dropped {
        name: parts.name,
        place: mem::replace(parts.place, Place::new(Hold::With, Watch::default())),
        owed: parts.owed.take(),
        end: parts.code.life().take_end(),
        is_over: parts.code.life().is_over(),
    };
    let mut value = parts.code.slot().take();
    let mut state = Some(state);
    // The value drops first, because it may need something that the code holds.
    dropped.finish(&mut || value = None, &mut || state = None);
}

/// The parts of a dropped coroutine that do not depend on the type of its code. What is done with
/// them is compiled once, and not once for each context.
struct Dropped {
    name: &'static str,
    place: Place,
    owed: Option<BodyError>,
    end: Option<End<BodyError>>,
    is_over: bool,
}

impl Dropped {
    fn finish<'a>(self, drop_value: &'a mut dyn FnMut(), drop_code: &'a mut dyn FnMut()) {
        let Self {
            name,
            mut place,
            owed,
            end,
            is_over,
        } = self;
        if let Some(error) = &owed {
            report::body_error(name, error.share());
        }
        if let Some(end) = end {
            report_late(name, end);
        }
        let polling = place.poll(Polled::Exit);
        for drop_part in [drop_value, drop_code] {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(drop_part)) {
                report::panic(name, Kind::Panicked, payload);
            }
        }
        drop(polling);
        // The observer is told only now. While the code dropped, a part of the context may have
        // been handed over alone. Then this call tells nothing, and that part tells how the context
        // ends.
        place.watch().dropped(is_over);
        // The error drops last, so that a panic in its drop can't meet a panic in the drop of the
        // code.
        if let Some(error) = owed {
            drop_quietly(name, error);
        }
    }
}

impl<F: Lends + ?Sized> Coroutine<F> {
    pub(crate) fn name(&self) -> &'static str {
        self.0.as_ref().expect(THERE).name
    }

    pub(crate) fn is_over(&self) -> bool {
        self.life().is_over()
    }

    pub(crate) fn stage(&self) -> Stage {
        self.life().stage()
    }

    /// Returns `true` if the context is entering, and waits for something that may be given up.
    pub(crate) fn is_cancellable(&mut self) -> bool {
        self.life().is_cancellable() || self.place().watch().is_at_the_door()
    }

    pub(crate) fn failed_as(&self) -> Kind {
        self.life().failed_as()
    }

    #[inline]
    pub(crate) fn life(&self) -> &Life {
        self.0.as_ref().expect(THERE).code.life()
    }

    #[inline]
    pub(crate) fn slot(&mut self) -> Slot<'_, F::Value> {
        self.state().code.slot()
    }

    /// Returns the place around the body, the value, and the future beside the body.
    #[inline]
    pub(crate) fn lend(&mut self) -> (&mut Place, Lent<'_, F::Value>, Companion<'_>)
    where
        F: Routine,
    {
        let (place, slot, companion) = self.split();
        (place, slot.lend(), companion)
    }

    /// Continues the future beside the body, for a holder that has the value elsewhere. The future
    /// may have more to run after it has ended the body, and may be polled again.
    ///
    /// # Panics
    ///
    /// If that future panics.
    pub(crate) fn poll_beside<D, E>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>>
    where
        F: Routine<Output = Result<D, E>>,
        E: Send + Sync + 'static,
    {
        let (place, mut companion) = self.accompany();
        if companion.is_there() {
            companion.poll(place, cx).map(End::into_result)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Continues the future beside the body, for a driver. Returns how the future has ended the
    /// body, if it has, and `true` if nothing is left to run.
    pub(crate) fn drive_beside(&mut self, cx: &mut Context<'_>) -> (Option<End<BodyError>>, bool)
    where
        F: Routine,
    {
        let name = self.name();
        let (place, mut companion) = self.accompany();
        let mut first = None;
        while companion.is_there() {
            let Poll::Ready(end) = companion.poll(place, cx) else {
                return (first, false);
            };
            match first {
                None => first = Some(end),
                Some(_) => report_late(name, end),
            }
        }
        (first, true)
    }

    /// Records that the body has ended, for a coroutine whose value an outer context has lent to
    /// the body. The exit does not begin yet. The future beside the body is polled once, so that it
    /// can tell its own parts.
    pub(crate) fn end_around(&mut self, cx: &mut Context<'_>)
    where
        F: Routine,
    {
        let name = self.name();
        let (place, companion) = self.accompany();
        if companion.life.end_around() && companion.life.wants_a_poll_beside() {
            poll_beside(name, place, companion.life, companion.company, cx);
        }
    }

    /// Polls the future beside the body once. Returns how the future has ended the body, if it has.
    pub(crate) fn take_end(&mut self) -> Option<End<BodyError>>
    where
        F: Routine,
    {
        let (place, mut companion) = self.accompany();
        if !companion.is_there() {
            return None;
        }
        let mut cx = Context::from_waker(Waker::noop());
        match companion.poll(place, &mut cx) {
            Poll::Ready(end) => Some(end),
            Poll::Pending => None,
        }
    }

    /// Returns the parts of [`lend`](Self::lend) for a holder that already has the value.
    #[inline]
    pub(crate) fn accompany(&mut self) -> (&mut Place, Companion<'_>)
    where
        F: Routine,
    {
        let (place, _, companion) = self.split();
        (place, companion)
    }

    #[inline]
    fn split(&mut self) -> (&mut Place, Slot<'_, F::Value>, Companion<'_>)
    where
        F: Routine,
    {
        let state = self.state();
        let (life, slot, company) = state.code.split();
        let companion = Companion {
            name: state.name,
            life,
            company,
        };
        (state.place, slot, companion)
    }

    /// Ends the body. The exit runs when [`poll_exit`](Self::poll_exit) polls it.
    #[inline]
    pub(crate) fn end_body(&mut self, outcome: Outcome) {
        let state = self.state();
        state.place.end_body(state.name);
        state.place.watch().end_body(&outcome);
        state.code.life().end_body(outcome);
    }

    /// Records that the caller is owed this error of the body.
    pub(crate) fn owe(&mut self, error: BodyError) {
        *self.state().owed = Some(error);
    }

    /// Records that the caller gets the error, or that exit has suppressed it.
    pub(crate) fn settle(&mut self) {
        *self.state().owed = None;
    }

    pub(crate) fn place(&mut self) -> &mut Place {
        self.state().place
    }

    /// Takes over the wait for this exit's turn, if the previous holder has begun one.
    pub(crate) fn wait_for(&mut self, turn: Option<Wait>) {
        *self.state().turn = turn;
    }
}

/// Turns the result of a poll of the code into the result of a poll of enter.
pub(crate) fn settle_enter<D, E>(
    name: &str,
    life: &Life,
    polled: Poll<Result<D, E>>,
) -> Poll<Result<(), E>> {
    match polled {
        Poll::Pending if life.is_lent() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(_)) => ended_without_a_yield(name),
    }
}

/// Panics. The macro excludes this case.
#[cold]
fn ended_without_a_yield(name: &str) -> ! {
    panic!("the context `{name}` ended without a yield")
}
