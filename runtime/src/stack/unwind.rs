//! The exit of a stack: one entry after the other, in reverse, and the result that they leave for
//! the caller.
//!
//! The caller's own future runs these exits. If the caller goes away, a coroutine in the background
//! takes over, and goes on where the caller has stopped.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use crate::code::Lending;
use crate::context::Verdict;
use crate::coroutine::{Code, Coroutine, Wait, poll_turn, report_late};
use crate::detached;
use crate::door;
use crate::driven::Drivers;
use crate::exchange::{End, Stage};
use crate::failure::{FailedExit, StackFailure};
use crate::fallback::EachAlone;
use crate::lender::Lender;
use crate::lock::lock;
use crate::observe::Watch;
use crate::order::{self, Kind as Hold, Place, Polled};
use crate::outcome::{BodyError, BodyPanic, Outcome};
use crate::panic::Payload;
use crate::report::{self, Failing, Kind, drop_quietly};
use crate::settle::{Body, unshare};

use super::entry::Entry;
use super::{NAME, Shared};

/// A stack as a context: its place in the order, and its exit.
pub(super) struct Core<E: fmt::Debug + Send + Sync + 'static, D> {
    place: Place,
    /// One of `Lent`, `BodyOver`, `Exiting` and `Over`.
    stage: Stage,
    /// The wait for the turn of the exit, while it lasts.
    turn: Option<Wait>,
    exits: Exits<E, D>,
}

impl<E: fmt::Debug + Send + Sync + 'static, D: Verdict> Core<E, D> {
    /// Opens an empty stack.
    pub(super) fn open() -> Self {
        let mut place = Place::new(Hold::Guard, door::watch(NAME, Hold::Guard));
        // An empty stack holds nothing yet.
        place.watch().go_in(false);
        place.entered();
        place.watch().entered(true);
        Self {
            place,
            stage: Stage::Lent,
            turn: None,
            exits: Exits {
                outcome: Outcome::Completed,
                ended_by: None,
                unwound: None,
                is_abandoned: false,
                step: Step::Next,
            },
        }
    }

    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.place.is_older_than(&other.place)
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Records that the body has ended. If an entry's future beside the body has ended the body,
    /// `ended_by` is the number of the entry.
    pub(super) fn end_body(&mut self, outcome: Outcome, ended_by: Option<u64>) {
        self.place.end_body(NAME);
        self.place.watch().end_body(&outcome);
        self.stage = Stage::BodyOver;
        if let Some(error) = outcome.error() {
            self.exits.unwound.get_or_insert_default().body = Some(error.share());
        }
        self.exits.outcome = outcome;
        self.exits.ended_by = ended_by;
    }

    /// Ends a stack without entries, after a body that ended with this outcome.
    pub(super) fn dissolve(&mut self, outcome: &Outcome) {
        self.place.watch().end_body(outcome);
        self.be_over();
    }

    /// Continues the exit: waits for its turn, and then exits the entries. Returns what the exits
    /// leave for the caller, if there is anything.
    pub(super) fn poll_exit(
        &mut self,
        shared: &Shared<E, D>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Box<Unwound<E, D>>>> {
        if self.stage == Stage::BodyOver {
            if poll_turn(NAME, &mut self.place, &mut self.turn, cx).is_pending() {
                self.place.waits_in_exit(NAME);
                if shared.drivers.is_used() {
                    shared.end_around_top(cx);
                    shared.drivers.poll(cx);
                }
                return Poll::Pending;
            }
            self.stage = Stage::Exiting;
        }
        let polling = self.place.poll(Polled::Exit);
        let polled = self.exits.poll(shared, cx, false);
        drop(polling);
        if polled.is_pending() {
            self.place.waits_in_exit(NAME);
            return Poll::Pending;
        }
        self.be_over();
        Poll::Ready(self.exits.unwound.take())
    }

    /// Records that the stack has exited. This ends all waits for it.
    fn be_over(&mut self) {
        self.stage = Stage::Over;
        self.place.watch().exited(false);
        self.leave();
    }

    /// Takes the [`Place`] out of the stack, and leaves an unused one in it.
    fn leave(&mut self) -> Place {
        mem::replace(&mut self.place, Place::new(Hold::With, Watch::default()))
    }
}

/// Hands a stack over whose holder has gone. If the holder has gone during the body, all exits see
/// `Cancelled`. Otherwise the exit that is running or comes next keeps its outcome, and the exits
/// after it see `Cancelled`.
pub(super) fn hand_over<E, D>(shared: &Arc<Shared<E, D>>)
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    let stage = lock(&shared.core).stage;
    if shared.drivers.is_used() && matches!(stage, Stage::Lent | Stage::BodyOver) {
        shared.end_around_top(&mut Context::from_waker(Waker::noop()));
    }
    shared.drivers.spawn();
    let mut core = lock(&shared.core);
    let (turn, place) = (core.turn.take(), core.leave());
    if stage == Stage::Lent {
        core.exits.outcome = Outcome::Cancelled;
    } else {
        core.exits.is_abandoned = true;
    }
    drop(core);

    let exits = HandedOver(Arc::clone(shared));
    let watch = Watch::default();
    let exit = Lending::new(watch.part(), |lender: Lender<(), Infallible>| async move {
        lender.yield_(()).await;
        exits.await;
        Ok(())
    });
    let mut coroutine: Coroutine<Code<(), (), Infallible>> =
        Coroutine::erased(NAME, watch, Hold::With, exit);
    let entered = coroutine.poll_enter(&mut Context::from_waker(Waker::noop()));
    debug_assert!(entered.is_ready(), "it awaits nothing");
    if stage != Stage::Lent {
        coroutine.end_body(Outcome::Completed);
    }
    if stage == Stage::Exiting {
        coroutine.life().begin_exit();
    }
    // Set after the call of `end_body` above, because this place has already recorded the end of
    // the body, if the body has ended.
    *coroutine.place() = place;
    coroutine.wait_for(turn);
    detached::hand_over(coroutine);
}

/// The exits of a stack that was handed over.
struct HandedOver<E: fmt::Debug + Send + Sync + 'static, D>(Arc<Shared<E, D>>);

impl<E, D> Future for HandedOver<E, D>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let is_each_alone = EachAlone::is_going_on();
        lock(&self.0.core).exits.poll(&self.0, cx, is_each_alone)
    }
}

/// If the exits are given up, each entry is handed over separately: first the entry that exits, then
/// the others from the first to the last, as a list drops.
impl<E: fmt::Debug + Send + Sync + 'static, D> Drop for HandedOver<E, D> {
    fn drop(&mut self) {
        let step = mem::replace(&mut lock(&self.0.core).exits.step, Step::Next);
        drop(step);
        let entries = mem::take(&mut *lock(&self.0.entries));
        drop(entries);
        let unwound = lock(&self.0.core).exits.unwound.take();
        drop(unwound);
    }
}

/// Exits all entries in reverse order, as nested contexts would exit. Each entry gets its turn,
/// even if user code panics on the way, for instance in a `Drop`.
///
/// If an entry's future beside the body ended the body, the entries above see a cancelled body. The
/// futures of the lower entries go on meanwhile.
struct Exits<E: fmt::Debug + Send + Sync + 'static, D> {
    /// The outcome that the next exit sees.
    outcome: Outcome,
    /// The number of the entry whose future beside the body ended the body.
    ended_by: Option<u64>,
    /// Boxed, because most exits leave nothing for the caller.
    unwound: Option<Box<Unwound<E, D>>>,
    /// `true` once the caller has gone away. When the next exit ends, the outcome becomes
    /// `Cancelled`.
    is_abandoned: bool,
    step: Step<E, D>,
}

enum Step<E, D> {
    /// The next entry is taken.
    Next,
    /// An entry waits for what the exits above it have given up.
    Waiting(Wait, u64, Entry<E, D>),
    /// The entry exits. Its outcome is `Some` if its body was cancelled by an entry below.
    Exiting(Entry<E, D>, Option<Outcome>),
}

impl<E: fmt::Debug + Send + Sync + 'static, D: Verdict> Exits<E, D> {
    /// Continues the exits. If `is_each_alone` is `true`, each entry is handed over separately.
    fn poll(
        &mut self,
        shared: &Shared<E, D>,
        cx: &mut Context<'_>,
        is_each_alone: bool,
    ) -> Poll<()> {
        let polled = self.poll_each(shared, cx, is_each_alone);
        if polled.is_pending() {
            shared.drivers.poll(cx);
        } else {
            // Drops a share in the body's error, before the caller gets that error.
            replace(NAME, &mut self.outcome, Outcome::Completed);
        }
        polled
    }

    fn poll_each(
        &mut self,
        shared: &Shared<E, D>,
        cx: &mut Context<'_>,
        is_each_alone: bool,
    ) -> Poll<()> {
        loop {
            match &mut self.step {
                Step::Next => {
                    let next = lock(&shared.entries).pop();
                    let Some((number, mut entry)) = next else {
                        return Poll::Ready(());
                    };
                    self.step = if order::has_this_exit_given_up_something() {
                        if shared.drivers.is_used() {
                            entry.end_around(cx);
                        }
                        let wait = order::what_this_exit_has_given_up(entry.name());
                        Step::Waiting(Box::pin(wait), number, entry)
                    } else {
                        self.begin(number, entry, &shared.drivers)
                    };
                }
                Step::Waiting(wait, ..) => {
                    ready!(wait.as_mut().poll(cx));
                    if let Step::Waiting(_, number, entry) = self.take_step() {
                        self.step = self.begin(number, entry, &shared.drivers);
                    }
                }
                // This drop hands the entry over separately, so that its exit has a time limit of
                // its own. The stack then waits for it as for any context that it has given up.
                Step::Exiting(..) if is_each_alone => {
                    drop(self.take_step());
                    self.give_up_if_abandoned(NAME);
                }
                Step::Exiting(entry, _) => {
                    let exit = ready!(Pin::new(&mut entry.exit()).poll(cx));
                    if let Step::Exiting(entry, seen) = self.take_step() {
                        self.end(entry.failing(), exit, seen);
                    }
                }
            }
        }
    }

    fn take_step(&mut self) -> Step<E, D> {
        mem::replace(&mut self.step, Step::Next)
    }

    /// Begins the exit of this entry, unless its value has not come back.
    fn begin(&mut self, number: u64, mut entry: Entry<E, D>, drivers: &Drivers) -> Step<E, D> {
        if drivers.is_used() {
            if let Some(end) = entry.take_end() {
                let unwound = self.unwound.get_or_insert_default();
                unwound.add_end(entry.name(), end, &mut self.outcome);
            }
        }
        if !entry.has_value() {
            // Its drop reports that.
            return Step::Next;
        }
        let is_above = self.ended_by.is_some_and(|by| number > by);
        let above = is_above.then_some(Outcome::Cancelled);
        entry.end_body(above.as_ref().unwrap_or(&self.outcome).share());
        Step::Exiting(entry, above)
    }

    fn end(
        &mut self,
        failing: Failing,
        exit: Result<Result<D, E>, Payload>,
        seen: Option<Outcome>,
    ) {
        let mut seen = seen;
        let seen = seen.as_mut().unwrap_or(&mut self.outcome);
        let is_well = matches!((&exit, &*seen), (Ok(Ok(_)), Outcome::Completed));
        if !is_well {
            let unwound = self.unwound.get_or_insert_default();
            unwound.add(failing, exit, seen);
        }
        self.give_up_if_abandoned(failing.context);
    }

    /// Lets the exits that follow see `Cancelled`, if the caller has gone away.
    fn give_up_if_abandoned(&mut self, name: &'static str) {
        if self.is_abandoned {
            replace(name, &mut self.outcome, Outcome::Cancelled);
            // Its drop reports everything, because no caller will get it.
            self.unwound = None;
        }
    }
}

/// Replaces the outcome quietly, because the drop of an old error is user code.
fn replace(context: &'static str, outcome: &mut Outcome, new: Outcome) {
    drop_quietly(context, mem::replace(outcome, new));
}

/// The errors, panic and verdict that the exits of a stack leave for the caller. If this drops
/// before the caller has taken them, the errors and the panic are reported.
pub(super) struct Unwound<E: fmt::Debug + Send + Sync + 'static, D> {
    /// The errors of exits that failed since the last suppression, in order.
    errors: Vec<(Failing, Arc<E>)>,
    /// The verdict that suppressed the body's error, or the error of an earlier exit.
    suppressed: Option<D>,
    /// The body's error, as long as it is the error that the caller gets.
    body: Option<BodyError>,
    panic: Option<(&'static str, Payload)>,
}

impl<E: fmt::Debug + Send + Sync + 'static, D: Verdict> Unwound<E, D> {
    /// Adds how an exit ended, and sets the outcome that the exits around it see.
    fn add(
        &mut self,
        failing: Failing,
        ended: Result<Result<D, E>, Payload>,
        outcome: &mut Outcome,
    ) {
        let name = failing.context;
        match (ended, &*outcome) {
            (Ok(Ok(verdict)), Outcome::Failed(_)) if verdict.suppressed::<()>().is_some() => {
                self.suppress(name, verdict);
                replace(name, outcome, Outcome::Completed);
            }
            (Ok(Ok(_)), _) => {}
            (Ok(Err(error)), Outcome::Completed | Outcome::Failed(_)) => {
                let error = Arc::new(error);
                if outcome.is_completed() {
                    let error = BodyError::new(Arc::clone(&error));
                    replace(name, outcome, Outcome::Failed(error));
                }
                self.errors.push((failing, error));
            }
            (Ok(Err(error)), Outcome::Panicked(_) | Outcome::Cancelled) => {
                failing.report(Arc::new(error));
            }
            (Err(payload), Outcome::Completed | Outcome::Failed(_)) => {
                let panic = BodyPanic::new(&*payload);
                replace(name, outcome, Outcome::Panicked(panic));
                self.panic = Some((name, payload));
            }
            (Err(payload), Outcome::Panicked(_) | Outcome::Cancelled) => {
                report::panic(name, Kind::Panicked, payload);
            }
        }
    }

    /// Adds the end that an entry's future beside the body has caused. If the outcome is no longer
    /// `Completed`, that end is only reported.
    fn add_end(&mut self, name: &'static str, end: End<BodyError>, outcome: &mut Outcome) {
        if !outcome.is_completed() {
            return report_late(name, end);
        }
        let failing = Failing::new(name, Kind::BesideFailed);
        match end {
            End::Failed(error) => {
                let error = error.into_shared();
                let seen = BodyError::new(Arc::clone(&error));
                replace(name, outcome, Outcome::Failed(seen).marked_from_beside());
                self.errors.push((failing, error));
            }
            End::Panicked(payload) => self.add(failing, Err(payload), outcome),
        }
    }

    /// Drops the failure that the caller would have received. The other errors then have no
    /// receiver, and are reported.
    fn suppress(&mut self, context: &'static str, verdict: D) {
        let mut errors = self.errors.drain(..);
        match self.body.take() {
            Some(body) => drop_quietly(context, body),
            None => drop_quietly(context, errors.next()),
        }
        for (failing, error) in errors {
            failing.report(error);
        }
        self.suppressed = Some(verdict);
    }

    /// Returns the result of the caller.
    pub(super) fn settle<R>(
        unwound: Option<Box<Self>>,
        body: Body<R, E>,
    ) -> Result<D::Output<R>, StackFailure<R, E>> {
        match (unwound, body) {
            (None, Body::Completed(value)) => Ok(D::completed(value)),
            (unwound, body) => unwound.unwrap_or_default().settle_trouble(body),
        }
    }

    #[cold]
    fn settle_trouble<R>(mut self, body: Body<R, E>) -> Result<D::Output<R>, StackFailure<R, E>> {
        if let Some((_, payload)) = self.panic.take() {
            // Everything else that went wrong is reported when `self` drops.
            drop_quietly(NAME, body);
            drop(self);
            resume_unwind(payload);
        }
        self.body = None;
        let exits = mem::take(&mut self.errors).into_iter();
        let exits: Vec<_> = exits
            .map(|(failing, error)| FailedExit {
                context: failing.context,
                error: unshare(error),
                kind: failing.kind,
            })
            .collect();
        let suppressed = self
            .suppressed
            .take()
            .and_then(|verdict| verdict.suppressed());
        match (body, suppressed) {
            (Body::Panicked(payload), _) => resume_unwind(payload),
            (body, Some(output)) => {
                drop_quietly(NAME, body);
                if exits.is_empty() {
                    Ok(output)
                } else {
                    Err(StackFailure::new(None, None, exits))
                }
            }
            (Body::Completed(value), None) if exits.is_empty() => Ok(D::completed(value)),
            (Body::Completed(value), None) => Err(StackFailure::new(Some(value), None, exits)),
            (Body::Failed(error) | Body::FailedBeside(error), None) => {
                Err(StackFailure::new(None, Some(unshare(error)), exits))
            }
        }
    }
}

impl<E: fmt::Debug + Send + Sync + 'static, D> Default for Unwound<E, D> {
    fn default() -> Self {
        Self {
            errors: Vec::new(),
            suppressed: None,
            body: None,
            panic: None,
        }
    }
}

/// Reports everything, because no caller will get it.
impl<E: fmt::Debug + Send + Sync + 'static, D> Drop for Unwound<E, D> {
    fn drop(&mut self) {
        if let Some(error) = self.body.take() {
            report::body_error(NAME, error);
        }
        for (failing, error) in self.errors.drain(..) {
            failing.report(error);
        }
        if let Some((name, payload)) = self.panic.take() {
            report::panic(name, Kind::Panicked, payload);
        }
    }
}
