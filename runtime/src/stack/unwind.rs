//! The exit of a stack: one entry after the other, in reverse, and the result that they leave for
//! the caller.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use crate::context::Verdict;
use crate::coroutine::{Code, report_late};
use crate::exchange::End;
use crate::failure::{FailedExit, StackFailure};
use crate::fallback::EachAlone;
use crate::lock::lock;
use crate::order;
use crate::outcome::{BodyError, BodyPanic, Outcome};
use crate::panic::Payload;
use crate::report::{self, Failing, Kind, drop_quietly};
use crate::scope::Held;
use crate::settle::{Body, Owed, unshare};

use super::entry::Exit;
use super::{NAME, Shared};

/// The errors, panic and verdict that the exits of a stack leave for the caller. If this drops
/// before the caller has taken them, the errors and the panic are reported.
pub(super) struct Unwound<E: fmt::Debug + Send + Sync + 'static, D> {
    /// The errors of exits that failed since the last suppression, in order.
    errors: Vec<(Failing, Arc<E>)>,
    /// The verdict that suppressed the body's error, or the error of an earlier exit.
    suppressed: Option<D>,
    /// The body's error, as long as it is the error that the caller gets.
    pub(super) body: Option<BodyError>,
    /// The number of the entry whose future beside the body ended the body.
    pub(super) ended_by: Option<u64>,
    panic: Option<(&'static str, Payload)>,
    /// `true` once the caller has gone away. Exits that begin later see [`Outcome::Cancelled`].
    is_abandoned: bool,
}

/// A stack that exits, and its caller. When this drops, the caller is marked as gone before the
/// rest is handed over.
pub(super) struct Exiting<E, D>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    pub(super) caller: Caller<E, D>,
    pub(super) live: Option<Held<Code<(), (), Infallible>>>,
}

pub(super) struct Caller<E: fmt::Debug + Send + Sync + 'static, D>(pub(super) Arc<Shared<E, D>>);

impl<E: fmt::Debug + Send + Sync + 'static, D> Drop for Caller<E, D> {
    fn drop(&mut self) {
        lock(&self.0.unwound).is_abandoned = true;
        self.0.drivers.spawn();
    }
}

/// Exits all entries in reverse order, as nested contexts would exit. Each entry gets its turn,
/// even if user code panics on the way, for instance in a `Drop`.
///
/// If an entry's future beside the body ended the body, the entries above see a cancelled body. The
/// futures of the lower entries go on meanwhile.
pub(super) async fn unwind<E, D>(shared: &Shared<E, D>, mut outcome: Outcome)
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    let drivers = &shared.drivers;
    let mut entries = mem::take(&mut *lock(&shared.entries));
    let ended_by = lock(&shared.unwound).ended_by;
    while let Some((number, mut entry)) = entries.pop() {
        let name = entry.name();
        let given_up = pin!(order::what_this_exit_has_given_up(name));
        drivers.drive_while(given_up).await;
        if drivers.is_used() {
            if let Some(end) = entry.take_end() {
                let end = end.convert();
                lock(&shared.unwound).add_end(name, end, &mut outcome);
            }
        }
        let mut above = ended_by
            .is_some_and(|by| number > by)
            .then_some(Outcome::Cancelled);
        let seen = above.as_mut().unwrap_or(&mut outcome);
        let Some(exit) = Exit::begin(entry, seen.share()) else {
            continue;
        };
        let ended = drivers.drive_while(unless_alone(exit)).await;
        let mut unwound = lock(&shared.unwound);
        if let Some((ended, kind)) = ended {
            unwound.add(Failing::new(name, kind), ended, seen);
        }
        if unwound.is_abandoned {
            replace(name, &mut outcome, Outcome::Cancelled);
            unwound.report();
        }
    }
    drop_quietly(NAME, outcome);
}

/// Runs an exit, unless the runtime of the stack has shut down, or exits in the background have a
/// limit. In these cases, it returns `None` and drops the exit, which goes on alone, with a time
/// limit of its own. The stack waits for this exit as for everything that the stack has given up.
pub(super) fn unless_alone<D, E>(
    mut exit: Exit<D, E>,
) -> impl Future<Output = Option<<Exit<D, E> as Future>::Output>> + Unpin {
    poll_fn(move |cx| {
        if EachAlone::is_going_on() {
            return Poll::Ready(None);
        }
        Pin::new(&mut exit).poll(cx).map(Some)
    })
}

/// Replaces the outcome quietly, because the drop of an old error is user code.
pub(super) fn replace(context: &'static str, outcome: &mut Outcome, new: Outcome) {
    drop_quietly(context, mem::replace(outcome, new));
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

    pub(super) fn settle<R>(
        mut self,
        owed: Owed<R, E>,
    ) -> Result<D::Output<R>, StackFailure<R, E>> {
        if let Some((_, payload)) = self.panic.take() {
            // Everything else that went wrong is reported when `self` drops.
            drop_quietly(NAME, owed.take());
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
        match (owed.take(), suppressed) {
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
            ended_by: None,
            panic: None,
            is_abandoned: false,
        }
    }
}

impl<E: fmt::Debug + Send + Sync + 'static, D> Unwound<E, D> {
    /// Reports everything, because no caller will get it.
    fn report(&mut self) {
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

impl<E: fmt::Debug + Send + Sync + 'static, D> Drop for Unwound<E, D> {
    fn drop(&mut self) {
        self.report();
    }
}
