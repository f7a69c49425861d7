//! One use of a context: enter, body, exit.
//!
//! [`run`] does all three. With a [`Guard`](crate::Guard), the body is the caller's own code
//! between `guard()` and `exit`.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::thread;

use pin_project_lite::pin_project;

use crate::body::Body as AsyncBody;
use crate::code::{Lending, Lends, Routine};
use crate::context::{AsyncContext, Verdict};
use crate::coroutine::{Afterwards, Code, Companion, Coroutine};
use crate::detached;
use crate::door;
use crate::exchange::{End, Lent};
use crate::failure::Failure;
use crate::fairness::Fairness;
use crate::hand_written::hand_written;
use crate::lender::OFFERED;
use crate::lock::{inner, lock};
use crate::observe::{Part, Watch};
use crate::order::{Home, Kind as Hold, Place, Polled};
use crate::outcome::{BodyError, Outcome};
use crate::panic::Payload;
use crate::report::{self, Failing, Kind, drop_quietly};
use crate::settle::{Body, Owed};

/// Enters, runs the body, exits.
///
/// This is one function, so that the body's future is stored only once. With a second copy, each
/// level of nesting would double the size.
pub(crate) async fn run<C, F, R, T>(
    context: C,
    live: impl FnOnce(C) -> Live<F>,
    body: impl for<'a> AsyncBody<&'a mut C::Value, Result<R, C::Error>>,
    give: impl FnOnce(Failing, Tried<C, R>) -> T,
) -> T
where
    C: AsyncContext,
    F: Routine<Value = C::Value, Output = Result<C::Verdict, C::Error>> + ?Sized,
{
    let mut live = live(context);
    let name = live.name();
    // If enter fails, the body drops without having run. A panic in this drop must not hide the
    // error of enter.
    match live.enter().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            drop_quietly(name, body);
            return give(live.failing(), Err(Failure::Enter(error)));
        }
        Err(payload) => {
            drop_quietly(name, body);
            resume_unwind(payload)
        }
    }
    let (place, mut lent, companion) = live.lend();
    let ended = Accompanied::new(place, companion, || body(lent.value())).await;
    // By now, everything that the body held has dropped.
    drop(lent);
    let owed = live.end_with(ended);
    let exit = live.exit().await;
    give(live.failing(), owed.settle(live.failing(), exit))
}

/// The result of `try_with`.
type Tried<C, R> = Result<Output<C, R>, Failure<R, <C as AsyncContext>::Error>>;

/// The result of a use of the context `C` whose body returns `R`.
pub(crate) type Output<C, R> = <<C as AsyncContext>::Verdict as Verdict>::Output<R>;

/// A context in use. If this is dropped before the exit has ended, the context is abandoned: handed
/// over to the background, if the context can run there.
pub(crate) struct Live<F: Lends + ?Sized> {
    /// Filled until exit has ended.
    coroutine: Coroutine<F>,
    failing: Failing,
    abandon: Abandon<F>,
}

/// The function that abandons a dropped context. It is chosen where the compiler knows whether the
/// context is `'static`, because the drop itself cannot tell.
type Abandon<F> = fn(Coroutine<F>);

pin_project! {
    /// A body: code that is polled and dropped inside a context. A panic of the body is returned as
    /// an error.
    pub(crate) struct Inside<'p, B> {
        place: &'p mut Place,
        // `None` once the body has ended, or is being dropped.
        #[pin]
        body: Option<B>,
        // The panic of the call that was to make the body.
        panic: Option<Payload>,
    }

    impl<B> PinnedDrop for Inside<'_, B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.body.is_some() {
                let is_panicking = thread::panicking();
                let polling = this.place.poll(Polled::Open);
                let dropped = catch_unwind(AssertUnwindSafe(|| this.body.set(None)));
                drop(polling);
                match dropped {
                    Ok(()) => {}
                    // A second panic would end the process.
                    Err(payload) if is_panicking => {
                        report::panic(type_name::<B>(), Kind::Panicked, payload);
                    }
                    Err(payload) => resume_unwind(payload),
                }
            }
        }
    }
}

impl<'p, B: Future> Inside<'p, B> {
    /// Makes a body from a call. An `async` block around the call would add a type to the nest of
    /// futures, whose depth the compiler limits.
    pub(crate) fn new(place: &'p mut Place, call: impl FnOnce() -> B) -> Self {
        let (body, panic) = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(body) => (Some(body), None),
            Err(payload) => (None, Some(payload)),
        };
        Self { place, body, panic }
    }
}

impl<B> Inside<'_, B> {
    /// Drops the body inside its context, and returns its panic.
    fn give_up(self: Pin<&mut Self>) -> Result<(), Payload> {
        let mut this = self.project();
        let _polling = this.place.poll(Polled::Open);
        catch_unwind(AssertUnwindSafe(|| this.body.set(None)))
    }
}

impl<B: Future> Future for Inside<'_, B> {
    type Output = Result<B::Output, Payload>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(payload) = this.panic.take() {
            return Poll::Ready(Err(payload));
        }
        let polling = this.place.poll(Polled::Open);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let body = this.body.as_mut().as_pin_mut();
            let output = ready!(body.expect("it is polled until it has ended").poll(cx));
            this.body.set(None);
            Poll::Ready(output)
        }));
        drop(polling);
        match ended {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                this.place.note();
                Poll::Pending
            }
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}

pin_project! {
    /// A body, with the future that its context runs beside it.
    pub(crate) struct Accompanied<'p, B> {
        #[pin]
        body: Inside<'p, B>,
        companion: Companion<'p>,
        fairness: Fairness,
    }
}

impl<'p, B: Future> Accompanied<'p, B> {
    pub(crate) fn new(
        place: &'p mut Place,
        companion: Companion<'p>,
        call: impl FnOnce() -> B,
    ) -> Self {
        Self {
            body: Inside::new(place, call),
            companion,
            fairness: Fairness::default(),
        }
    }
}

impl<B, R, E> Future for Accompanied<'_, B>
where
    B: Future<Output = Result<R, E>>,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Output = Body<R, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut end = Poll::Pending;
        if this.fairness.is_second_first() {
            end = this.companion.poll(this.body.as_mut().project().place, cx);
        }
        if end.is_pending() {
            if let Poll::Ready(result) = this.body.as_mut().poll(cx) {
                return Poll::Ready(Body::caught(result));
            }
            if !this.companion.is_there() {
                return Poll::Pending;
            }
            this.fairness.first_was_polled();
            end = this.companion.poll(this.body.as_mut().project().place, cx);
        }
        let end = ready!(end);
        Poll::Ready(match this.body.give_up() {
            Ok(()) => end.into(),
            // The drop of the body panicked. This panic counts as the body's, and the end that the
            // future caused is only reported.
            Err(payload) => {
                this.companion.report(end);
                Body::Panicked(payload)
            }
        })
    }
}

impl<V, D, E> Live<Code<V, D, E>>
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Makes a context for [`run`], whose future polls the body itself. So the context can be given
    /// up only by a drop of that future, which means between two polls.
    pub(crate) fn new_inside<C>(context: C) -> Self
    where
        C: AsyncContext<Value = V, Verdict = D, Error = E> + 'static,
    {
        let watch = door::watch(context.__name(), Hold::With);
        Self::erased(context, watch, Hold::With)
    }

    /// Makes a context that may be given up at any time. Its exit then goes on in the background.
    pub(crate) fn new<C>(context: C, hold: Hold) -> Self
    where
        C: AsyncContext<Value = V, Verdict = D, Error = E> + 'static,
    {
        let watch = door::watch(context.__name(), hold);
        Self::erased(context, watch, hold)
    }

    /// Makes a context that is a part of another context. To an observer, the two are one context.
    /// The part tells the observer nothing until the part is given up and goes on alone.
    pub(crate) fn new_part<C>(context: C, part: &Part) -> Self
    where
        C: AsyncContext<Value = V, Verdict = D, Error = E> + 'static,
    {
        Self::erased(context, part.watch(), Hold::Part)
    }

    fn erased<C>(context: C, watch: Watch, hold: Hold) -> Self
    where
        C: AsyncContext<Value = V, Verdict = D, Error = E> + 'static,
    {
        let is_large = size_of::<(C, V)>() > LARGE;
        if C::__LENDS || is_large {
            return Self::lending(context, watch, hold);
        }
        let name = context.__name();
        let code = hand_written(context);
        Self::of_code(name, watch, hold, code)
    }

    fn lending<C>(context: C, watch: Watch, hold: Hold) -> Self
    where
        C: AsyncContext<Value = V, Verdict = D, Error = E> + 'static,
    {
        let name = context.__name();
        let code = Lending::new(watch.part(), |lender| context.__coroutine(lender));
        Self::of_code(name, watch, hold, code)
    }

    /// Makes a context from its code.
    pub(crate) fn of_code(
        name: &'static str,
        watch: Watch,
        hold: Hold,
        code: impl Routine<Value = V, Output = Result<D, E>> + Send + 'static,
    ) -> Self {
        Self {
            coroutine: Coroutine::erased(name, watch, hold, code),
            failing: Failing::new(name, Kind::ExitFailed),
            abandon: detached::hand_over,
        }
    }
}

/// Above this size in bytes, a context runs as code that lends, not as [hand-written
/// code](hand_written). Hand-written code saves an allocation, but moves context and value more
/// often.
const LARGE: usize = 256;

/// Makes a context that may borrow. If this context is dropped, its exit cannot run in the
/// background.
pub(crate) fn scoped<C: AsyncContext>(
    context: C,
) -> Live<impl Routine<Value = C::Value, Output = Result<C::Verdict, C::Error>>> {
    let name = context.__name();
    let watch = door::watch(name, Hold::With);
    let code = Lending::new(watch.part(), |lender| context.__coroutine(lender));
    Live {
        coroutine: Coroutine::new(name, watch, Hold::With, code),
        failing: Failing::new(name, Kind::ExitFailed),
        abandon: |mut coroutine| {
            let name = coroutine.name();
            if !coroutine.is_cancellable() {
                report::plain(name, Kind::NotRun);
            }
            drop_quietly(name, coroutine);
        },
    }
}

impl<D, E, F> Live<F>
where
    F: Routine<Output = Result<D, E>> + ?Sized,
{
    /// Enters the context. An enter that fails waits for the contexts that it opened and gave up. A
    /// panic is returned as an error.
    #[inline]
    pub(crate) fn enter(&mut self) -> Entering<'_, F, E> {
        Entering {
            coroutine: &mut self.coroutine,
            afterwards: None,
        }
    }

    /// See [`Coroutine::lend`].
    fn lend(&mut self) -> (&mut Place, Lent<'_, F::Value>, Companion<'_>) {
        self.coroutine.lend()
    }

    /// See [`Coroutine::poll_beside`].
    ///
    /// # Panics
    ///
    /// If the future beside the body panics.
    pub(crate) fn poll_beside(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>>
    where
        E: Send + Sync + 'static,
    {
        self.coroutine.poll_beside(cx)
    }

    /// Returns how the future beside the body has ended the body, if it has.
    #[inline]
    pub(crate) fn take_end(&mut self) -> Option<End<BodyError>> {
        if self.is_accompanied() {
            self.coroutine.take_end()
        } else {
            None
        }
    }

    /// Ends the body with this result. The caller gets the result after the end of exit.
    #[inline]
    pub(crate) fn end_with<R>(&mut self, body: Body<R, E>) -> Owed<R, E>
    where
        E: fmt::Debug + Send + Sync + 'static,
    {
        if let Body::Completed(_) = body {
            self.coroutine.end_body(Outcome::Completed);
        } else {
            self.end_in_trouble(&body);
        }
        Owed::new(self.name(), body)
    }

    #[cold]
    fn end_in_trouble<R>(&mut self, body: &Body<R, E>)
    where
        E: fmt::Debug + Send + Sync + 'static,
    {
        let outcome = body.outcome();
        if let Some(error) = outcome.error().map(BodyError::share) {
            self.coroutine.owe(error);
        }
        self.end_body(outcome);
    }

    pub(crate) fn end_body(&mut self, outcome: Outcome) {
        self.coroutine.end_body(outcome);
    }

    /// See [`Coroutine::end_around`].
    pub(crate) fn end_around(&mut self, cx: &mut Context<'_>) {
        self.coroutine.end_around(cx);
    }

    /// Runs exit to its end, and drops the coroutine, with its share in the body's error. A panic
    /// is returned as an error.
    #[inline]
    pub(crate) fn exit(&mut self) -> Exiting<'_, F> {
        Exiting(self)
    }

    /// Replaces the coroutine by another coroutine of the same context.
    pub(crate) fn replace(&mut self, new: impl FnOnce(Coroutine<F>) -> Coroutine<F>) {
        self.coroutine = new(self.coroutine.take());
    }

    #[inline]
    pub(crate) fn is_accompanied(&self) -> bool {
        self.coroutine.life().is_accompanied()
    }

    /// Makes this context a part of another. It is then dropped with the other context, and not
    /// handed over.
    pub(crate) fn become_part(&mut self) {
        self.abandon = |coroutine| drop_quietly(coroutine.name(), coroutine);
    }

    /// Records that the error in this context's outcome belongs to the caller of another context.
    /// If this context is dropped, its exit does not go on in the background, where it would keep a
    /// share of that error. The exit is reported as not run.
    pub(crate) fn become_dependent(&mut self) {
        self.abandon = |coroutine| {
            report::plain(coroutine.name(), Kind::NotRun);
            drop_quietly(coroutine.name(), coroutine);
        };
    }

    pub(crate) fn name(&self) -> &'static str {
        self.failing.context
    }

    /// Returns the data for reports of this context. The kind is final after exit.
    pub(crate) fn failing(&self) -> Failing {
        self.failing
    }

    /// Takes the value, so that somebody else can lend it to the body.
    pub(crate) fn take(&mut self) -> F::Value {
        self.coroutine.slot().take().expect(OFFERED)
    }

    pub(crate) fn put(&mut self, value: F::Value) {
        self.coroutine.slot().put(value);
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.coroutine.life().is_limited()
    }

    pub(crate) fn has_value(&mut self) -> bool {
        self.coroutine.slot().has_value()
    }

    pub(crate) fn place(&mut self) -> &mut Place {
        self.coroutine.place()
    }
}

/// The future that [`Live::enter`] returns.
pub(crate) struct Entering<'l, F: Lends + ?Sized, E> {
    coroutine: &'l mut Coroutine<F>,
    /// Boxed, because the wait is rare, and would make every use larger.
    afterwards: Option<Afterwards<E>>,
}

impl<D, E, F> Future for Entering<'_, F, E>
where
    F: Routine<Output = Result<D, E>> + ?Sized,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Output = Result<Result<(), E>, Payload>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(afterwards) = &mut this.afterwards {
            return afterwards.as_mut().poll(cx).map(|error| Ok(Err(error)));
        }
        let enter = || this.coroutine.poll_enter(cx);
        match catch_unwind(AssertUnwindSafe(enter)) {
            Ok(Poll::Ready(Ok(()))) => Poll::Ready(Ok(Ok(()))),
            Ok(Poll::Ready(Err(error))) => match this.coroutine.after_failed_enter(error) {
                Ok(afterwards) => {
                    let afterwards = this.afterwards.insert(afterwards);
                    afterwards.as_mut().poll(cx).map(|error| Ok(Err(error)))
                }
                Err(error) => Poll::Ready(Ok(Err(error))),
            },
            Ok(Poll::Pending) => Poll::Pending,
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}

/// The future that [`Live::exit`] returns.
pub(crate) struct Exiting<'l, F: Lends + ?Sized>(&'l mut Live<F>);

impl<D, E, F> Future for Exiting<'_, F>
where
    F: Routine<Output = Result<D, E>> + ?Sized,
{
    type Output = Result<Result<D, E>, Payload>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let live = &mut *self.0;
        let exit = || live.coroutine.poll_exit(cx);
        let exit = match catch_unwind(AssertUnwindSafe(exit)) {
            Ok(polled) => Ok(ready!(polled)),
            Err(payload) => Err(payload),
        };
        live.coroutine.settle();
        if let Ok(Err(_)) = exit {
            live.failing.kind = live.coroutine.failed_as();
        }
        drop(live.coroutine.take());
        Poll::Ready(exit)
    }
}

impl<F: Lends + ?Sized> Drop for Live<F> {
    #[inline]
    fn drop(&mut self) {
        if let Some(coroutine) = self.coroutine.take_unless_over() {
            (self.abandon)(coroutine);
        }
    }
}

/// A context in use whose holder has the value. The body is code that we do not poll.
pub(crate) struct Held<F: Lends + ?Sized> {
    /// Filled until the body has ended.
    value: Option<F::Value>,
    /// Locked only because several threads may ask a shared guard for its [`home`](Self::home) at
    /// the same time.
    live: Mutex<Live<F>>,
}

impl<D, E, F> Held<F>
where
    F: Routine<Output = Result<D, E>> + ?Sized,
{
    pub(crate) fn new(mut live: Live<F>) -> Self {
        Self {
            value: Some(live.take()),
            live: Mutex::new(live),
        }
    }

    pub(crate) fn value(&self) -> &F::Value {
        self.value.as_ref().expect(HELD)
    }

    pub(crate) fn value_mut(&mut self) -> &mut F::Value {
        self.value.as_mut().expect(HELD)
    }

    /// Returns the place around a part of the body, the value, and the future beside the body.
    pub(crate) fn lend(&mut self) -> (&mut Place, &mut F::Value, Companion<'_>) {
        let value = self.value.as_mut().expect(HELD);
        let (place, companion) = inner(&mut self.live).coroutine.accompany();
        (place, value, companion)
    }

    /// Puts the value back for exit, and returns the context.
    pub(crate) fn take_back(&mut self) -> &mut Live<F> {
        let live = inner(&mut self.live);
        if let Some(value) = self.value.take() {
            live.put(value);
        }
        live
    }

    /// Returns the home for contexts that are put inside this one.
    pub(crate) fn home(&self) -> Home {
        lock(&self.live).place().home_for_others()
    }
}

impl<F: Lends + ?Sized> Drop for Held<F> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            let coroutine = &mut inner(&mut self.live).coroutine;
            if !coroutine.is_gone() {
                coroutine.slot().put(value);
            }
        }
    }
}

/// The reason for an `expect` on the value: the end of the body consumes the holder.
const HELD: &str = "nothing asks for the value of a body that has ended";
