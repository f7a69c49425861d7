//! The one form in which every context is driven: code with a hole in it.
//!
//! A [`Coroutine`] is a boxed future that enters, lends its value through a [`Lender`], sleeps until
//! the value comes back with the outcome, and exits. Whoever holds it drives it: a scope while the
//! caller is there, the background once the caller has gone. A generator *is* such a future; a
//! hand-written context becomes one by `AsyncContext::__coroutine`.
//!
//! Holder and future talk through an [`Exchange`]:
//!
//! ```text
//!  Entering ──offer──▶ Offered ──take──▶ Lent ──give_back──▶ Returned ──▶ Exiting ──▶ (ended)
//!     │                   ◀──a loan ends──┘
//!     └── the future ends with an error, or panics: it never had a value ──────────────▶ (ended)
//! ```
//!
//! 1. The value is in one place at a time: the future, the exchange, or with the holder, who may lend it
//!    on.
//! 2. An offer of the future is taken within the poll that made it. Between polls an offer is a loan
//!    that has ended.
//! 3. The exit's own code begins after all detached exits inside the context have ended.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::cancellable::Cancellable;
use crate::context::{AsyncContext, Verdict};
use crate::observe::Watch;
use crate::order::{Covers, Place};
use crate::outcome::{BodyError, Outcome};
use crate::report::{self, Kind};

/// Where the value and the outcome change hands.
enum Exchange<V> {
    /// `marks` counts what makes it safe to give up now: see [`Lender::cancellable`].
    Entering {
        marks: usize,
    },
    Offered(V),
    Lent,
    Returned(V, Outcome),
    Exiting,
}

impl<V> Default for Exchange<V> {
    fn default() -> Self {
        Self::Entering { marks: 0 }
    }
}

type Link<V> = Arc<Mutex<Exchange<V>>>;

fn lock<V>(link: &Link<V>) -> MutexGuard<'_, Exchange<V>> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A context under way. `F` is its future; where its type does not matter, a [`Code`].
///
/// The state is `None` when this drops. The mutex is never locked: it makes a coroutine `Sync`, and so a
/// guard that is kept in shared state.
pub(crate) struct Coroutine<V, F: ?Sized> {
    name: &'static str,
    state: Mutex<Option<Boxed<V, F>>>,
}

type Boxed<V, F> = Pin<Box<State<V, F>>>;

pin_project! {
    #[project = Parts]
    /// All of a context under way, in one box: whoever holds it moves a pointer.
    pub(crate) struct State<V, F: ?Sized> {
        stage: Stage,
        link: Link<V>,
        place: Place,
        // The body's error, on its way to the caller. Reported if this drops before it gets there.
        owed: Option<BodyError>,
        // The wait for the exits inside, while there are some.
        inner: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
        #[pin]
        future: F,
    }
}

/// How far it is, as its holder knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Entering,
    /// The holder has the value, or has lent it on.
    Lent,
    /// The body has ended, and exit has not begun.
    Returned,
    Exiting,
    /// The code has returned, or panicked.
    Ended,
}

/// The code of a coroutine that can live in the background, without its type.
pub(crate) type Code<D, E> = dyn Future<Output = Result<D, E>> + Send;

impl<V, F> Coroutine<V, F> {
    /// Nothing of it has run yet. Its place among the other contexts is here and now.
    pub(crate) fn new(
        name: &'static str,
        covers: Covers,
        code: impl FnOnce(Lender<V>) -> F,
    ) -> Self {
        Self::pinned(name, covers, code, Box::pin)
    }
}

impl<V, D, E> Coroutine<V, Code<D, E>> {
    /// The same for code that can live in the background, and whose type is forgotten.
    pub(crate) fn erased<G>(
        name: &'static str,
        covers: Covers,
        code: impl FnOnce(Lender<V>) -> G,
    ) -> Self
    where
        G: Future<Output = Result<D, E>> + Send + 'static,
    {
        Self::pinned(name, covers, code, |state| Box::pin(state))
    }
}

impl<V, F: ?Sized> Coroutine<V, F> {
    fn pinned<G>(
        name: &'static str,
        covers: Covers,
        code: impl FnOnce(Lender<V>) -> G,
        pin: impl FnOnce(State<V, G>) -> Boxed<V, F>,
    ) -> Self {
        let link = Link::default();
        let lender = Lender::new(&link);
        let state = pin(State {
            stage: Stage::Entering,
            link,
            place: Place::new(covers, Watch::begin(name)),
            owed: None,
            inner: None,
            future: code(lender),
        });
        Self {
            name,
            state: Mutex::new(Some(state)),
        }
    }

    fn state(&mut self) -> Parts<'_, V, F> {
        let state = self.state.get_mut();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state
            .as_mut()
            .expect("only the drop takes it")
            .as_mut()
            .project()
    }
}

impl<V, D, E, F> Coroutine<V, F>
where
    F: Future<Output = Result<D, E>> + ?Sized,
{
    /// Goes on with enter.
    ///
    /// # Panics
    ///
    /// If enter panics, or if the code ends well without a yield, which the macro excludes.
    pub(crate) fn poll_enter(&mut self, cx: &mut Context<'_>) -> Poll<Result<V, E>> {
        let name = self.name;
        let mut state = self.state();
        let polled = state.poll(cx);
        let entered = settle_enter(name, state.link, polled);
        match entered {
            Poll::Ready(Ok(_)) => {
                *state.stage = Stage::Lent;
                state.place.watch().entered(true);
            }
            Poll::Ready(Err(_)) => state.place.watch().entered(false),
            Poll::Pending => state.place.note_runtime(),
        }
        entered
    }

    /// Waits for the exits inside (invariant 3), and then goes on with exit.
    ///
    /// # Panics
    ///
    /// If exit panics.
    pub(crate) fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<Result<D, E>> {
        let mut state = self.state();
        if *state.stage == Stage::Returned {
            ready!(state.poll_inner_exits(cx));
            *state.stage = Stage::Exiting;
        }
        let exited = state.poll(cx);
        match &exited {
            Poll::Ready(exit) => state.place.watch().exited(exit.is_err()),
            Poll::Pending => state.place.note_runtime(),
        }
        exited
    }
}

impl<V, D, E, F> Parts<'_, V, F>
where
    F: Future<Output = Result<D, E>> + ?Sized,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _inside = self.place.inside();
        // A panic of the poll leaves it so.
        let stage = mem::replace(self.stage, Stage::Ended);
        let polled = self.future.as_mut().poll(cx);
        if polled.is_pending() {
            *self.stage = stage;
        }
        polled
    }
}

impl<V, F: ?Sized> Parts<'_, V, F> {
    fn poll_inner_exits(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.is_none() && !self.place.has_inner_exits() {
            return Poll::Ready(());
        }
        self.place.note_runtime();
        let place = &*self.place;
        let inner = self.inner.get_or_insert_with(|| {
            let exits = place.inner_exits();
            Box::pin(async move { exits.ended().await })
        });
        ready!(inner.as_mut().poll(cx));
        *self.inner = None;
        Poll::Ready(())
    }
}

impl<V, F: ?Sized> Drop for Coroutine<V, F> {
    /// What the future holds, if it has not ended, drops inside of the context.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let Some(mut state) = state.unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let parts = state.as_mut().project();
        if let Some(error) = parts.owed.take() {
            report::body_error(self.name, error);
        }
        let has_ended = *parts.stage == Stage::Ended;
        parts.place.watch().dropped(has_ended);
        if !has_ended {
            let mut place = mem::replace(parts.place, Place::nowhere());
            let _inside = place.inside();
            drop(state);
        }
    }
}

impl<V, F: ?Sized> Coroutine<V, F> {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Has the code returned, or panicked?
    pub(crate) fn has_ended(&mut self) -> bool {
        *self.state().stage == Stage::Ended
    }

    /// Is its enter still going on?
    pub(crate) fn is_entering(&mut self) -> bool {
        *self.state().stage == Stage::Entering
    }

    /// Is it entering, in an await that may be given up?
    pub(crate) fn is_cancellable(&mut self) -> bool {
        is_cancellable(self.state().link)
    }

    /// Is the value with the holder, or lent on?
    pub(crate) fn is_lent(&mut self) -> bool {
        *self.state().stage == Stage::Lent
    }

    /// For a value that the holder lends on: when the loan ends, the value is offered again.
    pub(crate) fn loan(&mut self) -> Loan<V> {
        Loan(Arc::clone(self.state().link))
    }

    pub(crate) fn take_offered(&mut self) -> Option<V> {
        take_offered(self.state().link)
    }

    /// Ends the body. The exit runs when it is polled by [`poll_exit`](Self::poll_exit).
    pub(crate) fn give_back(&mut self, value: V, outcome: Outcome, covers: Covers) {
        let state = self.state();
        state.place.close(covers);
        state.place.watch().returned(&outcome);
        *state.stage = Stage::Returned;
        *lock(state.link) = Exchange::Returned(value, outcome);
    }

    /// From here on the caller is owed this error of the body.
    pub(crate) fn owe(&mut self, error: BodyError) {
        *self.state().owed = Some(error);
    }

    /// The caller gets the error, or exit has suppressed it.
    pub(crate) fn settle(&mut self) {
        *self.state().owed = None;
    }

    pub(crate) fn place(&mut self) -> &mut Place {
        self.state().place
    }

    /// Waits for the detached exits inside of it, and beside it once its body has ended.
    pub(crate) fn poll_inner_exits(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.state().poll_inner_exits(cx)
    }
}

fn take_offered<V>(link: &Link<V>) -> Option<V> {
    let mut exchange = lock(link);
    match mem::replace(&mut *exchange, Exchange::Lent) {
        Exchange::Offered(value) => Some(value),
        other => {
            *exchange = other;
            None
        }
    }
}

fn is_cancellable<V>(link: &Link<V>) -> bool {
    matches!(*lock(link), Exchange::Entering { marks: 1.. })
}

/// What a poll of the code means to the one who waits for its value.
fn settle_enter<V, D, E>(
    name: &str,
    link: &Link<V>,
    polled: Poll<Result<D, E>>,
) -> Poll<Result<V, E>> {
    match polled {
        Poll::Pending => take_offered(link).map_or(Poll::Pending, |value| Poll::Ready(Ok(value))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(_)) => panic!("the context `{name}` ended without a yield"),
    }
}

/// See [`Coroutine::loan`].
pub(crate) struct Loan<V>(Link<V>);

impl<V> Loan<V> {
    pub(crate) fn end(&self, value: V) {
        let mut exchange = lock(&self.0);
        if matches!(*exchange, Exchange::Lent) {
            *exchange = Exchange::Offered(value);
        }
    }
}

/// Lends the value of a context to the body: what [`yield_!`](crate::yield_) and
/// [`cancellable!`](crate::cancellable) are calls of.
pub struct Lender<V> {
    link: Link<V>,
    outcome: OnceLock<Outcome>,
}

impl<V> Lender<V> {
    fn new(link: &Link<V>) -> Self {
        Self {
            link: Arc::clone(link),
            outcome: OnceLock::new(),
        }
    }

    /// Lends the value to the body, and waits until it comes back with the outcome.
    pub async fn yield_(&self, value: V) -> (V, &Outcome) {
        *lock(&self.link) = Exchange::Offered(value);
        let mut is_offer_new = true;
        let (value, outcome) = poll_fn(|_| {
            if mem::take(&mut is_offer_new) {
                return Poll::Pending;
            }
            self.take_returned()
        })
        .await;
        let outcome = match outcome {
            Outcome::Completed => Outcome::COMPLETED,
            Outcome::Cancelled => Outcome::CANCELLED,
            outcome => self.outcome.get_or_init(|| outcome),
        };
        (value, outcome)
    }

    /// Marks an await of enter that is safe to give up: see [`cancellable!`](crate::cancellable).
    pub fn cancellable<I, F, T>(&self, future: I) -> Cancellable<'_, V, F, T>
    where
        I: IntoFuture<IntoFuture = F, Output = T>,
        F: Future<Output = T>,
    {
        Cancellable::new(self, future.into_future())
    }

    /// While the mark is there, a caller who gives up drops the context on the spot.
    pub(crate) fn mark(&self) -> Mark<V> {
        count_marks(&self.link, 1);
        Mark(Arc::clone(&self.link))
    }

    /// Runs a context that lends another value as a part of this one: `there` makes ours of its
    /// value, and `back` its value of ours. Where that gives `None` its exit can't run.
    pub(crate) async fn relay<C: AsyncContext>(
        &self,
        context: C,
        there: fn(C::Value) -> V,
        back: fn(V) -> Option<C::Value>,
    ) -> Result<C::Verdict, C::Error> {
        let name = context.__name();
        let link = Link::default();
        let lender = Lender::new(&link);
        let mut code = pin!(context.__coroutine(lender));
        let mut mark = None;
        let entered = poll_fn(|cx| {
            let polled = code.as_mut().poll(cx);
            match (is_cancellable(&link), &mark) {
                (true, None) => mark = Some(self.mark()),
                (false, Some(_)) => mark = None,
                _ => {}
            }
            settle_enter(name, &link, polled)
        });
        let value = entered.await?;
        let (value, outcome) = self.yield_(there(value)).await;
        let Some(value) = back(value) else {
            report::plain(name, Kind::NotRun);
            return Ok(C::Verdict::PROPAGATE);
        };
        *lock(&link) = Exchange::Returned(value, outcome.share());
        code.await
    }

    /// For code around this one, which wants to know how far it got.
    pub(crate) fn phase(&self) -> Phase<V> {
        Phase(Arc::clone(&self.link))
    }

    fn take_returned(&self) -> Poll<(V, Outcome)> {
        let mut exchange = lock(&self.link);
        match mem::replace(&mut *exchange, Exchange::Exiting) {
            Exchange::Returned(value, outcome) => Poll::Ready((value, outcome)),
            other => {
                *exchange = other;
                Poll::Pending
            }
        }
    }
}

impl<V> fmt::Debug for Lender<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lender").finish_non_exhaustive()
    }
}

/// See [`Lender::phase`].
pub(crate) struct Phase<V>(Link<V>);

impl<V> Phase<V> {
    /// Has it yielded?
    pub(crate) fn is_exiting(&self) -> bool {
        !matches!(*lock(&self.0), Exchange::Entering { .. })
    }

    /// The value has just come back: is there a caller for an error of exit?
    pub(crate) fn has_caller(&self) -> bool {
        matches!(
            *lock(&self.0),
            Exchange::Returned(_, Outcome::Completed | Outcome::Failed(_))
        )
    }
}

/// See [`Lender::mark`].
pub(crate) struct Mark<V>(Link<V>);

impl<V> Drop for Mark<V> {
    fn drop(&mut self) {
        count_marks(&self.0, -1);
    }
}

/// Marks say something only while enter goes on: an exit is never given up.
fn count_marks<V>(link: &Link<V>, by: isize) {
    if let Exchange::Entering { marks } = &mut *lock(link) {
        *marks = marks.saturating_add_signed(by);
    }
}

/// The context that a function under [`#[async_context]`](crate::async_context) returns.
///
/// It has no name that can be written, and is met in messages of the compiler alone.
///
/// ```
/// # use async_context_manager::prelude::*;
/// #[async_context]
/// async fn number() -> Result<u32, std::io::Error> {
///     let (_number, _) = yield_!(42);
///     Ok(())
/// }
/// assert!(std::any::type_name_of_val(&number()).contains("Generator"));
/// ```
pub struct Generator<V, B, F> {
    name: &'static str,
    progress: Progress<V, B, F>,
}

enum Progress<V, B, F> {
    /// The function's code, not run yet.
    Built(B),
    Entered(ByHand<V, F>),
    /// Between two states.
    Moved,
}

/// What [`#[async_context]`](crate::async_context) expands to a call of: a context with this name, of a
/// function that [yields](Lender::yield_) once.
pub fn generator<V, B, F>(name: &'static str, code: B) -> Generator<V, B, F>
where
    B: FnOnce(Lender<V>) -> F,
{
    Generator {
        name,
        progress: Progress::Built(code),
    }
}

impl<V, B, F, D, E> AsyncContext for Generator<V, B, F>
where
    V: Send,
    B: FnOnce(Lender<V>) -> F + Send,
    F: Future<Output = Result<D, E>> + Send,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Value = V;
    type Error = E;
    type Verdict = D;

    /// # Panics
    ///
    /// If it was entered before.
    async fn enter(&mut self) -> Result<V, E> {
        let Progress::Built(code) = mem::replace(&mut self.progress, Progress::Moved) else {
            panic!("the context `{}` is entered twice", self.name);
        };
        let entered = ByHand(Coroutine::new(self.name, Covers::Neighbours, code));
        self.progress = Progress::Entered(entered);
        match &mut self.progress {
            Progress::Entered(ByHand(coroutine)) => poll_fn(|cx| coroutine.poll_enter(cx)).await,
            _ => unreachable!("the state was set one line before"),
        }
    }

    /// # Panics
    ///
    /// If it was not entered to its end before.
    async fn exit(mut self, value: V, outcome: &Outcome) -> Result<D, E> {
        let is_lent = match &mut self.progress {
            Progress::Entered(ByHand(coroutine)) => coroutine.is_lent(),
            _ => false,
        };
        let mut entered = match self.progress {
            Progress::Entered(entered) if is_lent => entered,
            _ => panic!("the context `{}` is exited before it is entered", self.name),
        };
        let coroutine = &mut entered.0;
        coroutine.give_back(value, outcome.share(), Covers::Neighbours);
        poll_fn(|cx| coroutine.poll_exit(cx)).await
    }

    fn __name(&self) -> &'static str {
        self.name
    }

    /// # Panics
    ///
    /// If it was entered before.
    fn __coroutine(self, lender: Lender<V>) -> impl Future<Output = Result<D, E>> + Send {
        let Progress::Built(code) = self.progress else {
            panic!("the context `{}` is entered twice", self.name);
        };
        code(lender)
    }
}

impl<V, B, F> fmt::Debug for Generator<V, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A coroutine driven by calls of `enter` and `exit`, not by a scope. There is nobody to hand it
/// over to: the context that these calls are made in is the one that goes on in the background.
struct ByHand<V, F>(Coroutine<V, F>);

impl<V, F> Drop for ByHand<V, F> {
    fn drop(&mut self) {
        let coroutine = &mut self.0;
        if !coroutine.has_ended() && !coroutine.is_cancellable() {
            report::plain(coroutine.name(), Kind::NotRun);
        }
    }
}
