//! Decides the caller's result by how body and exit ended.

use std::convert::Infallible;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::context::Verdict;
use crate::exchange::End;
use crate::failure::Failure;
use crate::outcome::{BodyError, BodyPanic, Outcome};
use crate::panic::Payload;
use crate::report::{self, Failing, Kind, drop_quietly};

/// How a body ended, with its result.
pub(crate) enum Body<R, E> {
    Completed(R),
    Failed(Arc<E>),
    /// The future beside the body failed with this error.
    FailedBeside(Arc<E>),
    Panicked(Payload),
}

impl<R, E: fmt::Debug + Send + Sync + 'static> Body<R, E> {
    pub(crate) fn of(result: Result<R, E>) -> Self {
        match result {
            Ok(value) => Self::Completed(value),
            Err(error) => Self::Failed(Arc::new(error)),
        }
    }

    pub(crate) fn caught(result: Result<Result<R, E>, Payload>) -> Self {
        result.map_or_else(Self::Panicked, Self::of)
    }

    pub(crate) fn marked_from_beside(self) -> Self {
        match self {
            Self::Failed(error) => Self::FailedBeside(error),
            body @ (Self::Completed(_) | Self::FailedBeside(_) | Self::Panicked(_)) => body,
        }
    }

    /// Replaces the body's result, which came too late: the future beside the body had already
    /// ended the body. An error or panic of the body itself is reported.
    pub(crate) fn ended_before(self, context: &'static str, end: End<BodyError>) -> Self {
        match self {
            Self::Failed(error) | Self::FailedBeside(error) => {
                report::error(context, Kind::BodyFailed, error);
            }
            Self::Panicked(payload) => report::panic(context, Kind::BodyPanicked, payload),
            completed @ Self::Completed(_) => drop_quietly(context, completed),
        }
        Self::from(end)
    }

    #[inline]
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Completed(_) => Outcome::Completed,
            Self::Failed(error) => Outcome::Failed(BodyError::new(Arc::clone(error))),
            Self::FailedBeside(error) => {
                Outcome::Failed(BodyError::new(Arc::clone(error))).marked_from_beside()
            }
            Self::Panicked(payload) => Outcome::Panicked(BodyPanic::new(&**payload)),
        }
    }
}

impl<R, E: fmt::Debug + Send + Sync + 'static> From<End<BodyError>> for Body<R, E> {
    fn from(end: End<BodyError>) -> Self {
        match end {
            End::Failed(error) => Self::FailedBeside(error.into_shared()),
            End::Panicked(payload) => Self::Panicked(payload),
        }
    }
}

/// The body's result, which the caller gets after exit. If the caller goes away, a panic is
/// reported here. An error is reported by the coroutine, because exit may still suppress it.
pub(crate) struct Owed<R, E: fmt::Debug + Send + Sync + 'static> {
    context: &'static str,
    body: Option<Body<R, E>>,
}

impl<R, E: fmt::Debug + Send + Sync + 'static> Owed<R, E> {
    pub(crate) fn new(context: &'static str, body: Body<R, E>) -> Self {
        Self {
            context,
            body: Some(body),
        }
    }

    pub(crate) fn take(mut self) -> Body<R, E> {
        self.body.take().expect("it is taken once")
    }

    /// Returns the caller's result, by the table body × exit on the guide's page `errors`.
    #[inline]
    pub(crate) fn settle<D: Verdict>(
        mut self,
        failing: Failing,
        exit: Result<Result<D, E>, Payload>,
    ) -> Result<D::Output<R>, Failure<R, E>> {
        match (self.body.take(), exit) {
            (Some(Body::Completed(value)), Ok(Ok(_))) => Ok(D::completed(value)),
            (body, exit) => {
                self.body = body;
                self.settle_trouble(failing, exit)
            }
        }
    }

    #[cold]
    fn settle_trouble<D: Verdict>(
        self,
        failing: Failing,
        exit: Result<Result<D, E>, Payload>,
    ) -> Result<D::Output<R>, Failure<R, E>> {
        let context = self.context;
        match (self.take(), exit) {
            (Body::Completed(value), Ok(Ok(_))) => Ok(D::completed(value)),
            (Body::Completed(value), Ok(Err(error))) => Err(Failure::Exit { value, error }),
            (Body::Completed(value), Err(payload)) => {
                drop_quietly(context, value);
                resume_unwind(payload)
            }

            (Body::Failed(error) | Body::FailedBeside(error), Ok(Ok(verdict))) => {
                match verdict.suppressed() {
                    Some(output) => {
                        drop_quietly(context, error);
                        Ok(output)
                    }
                    None => Err(Failure::Body(unshare(error))),
                }
            }
            (Body::Failed(error) | Body::FailedBeside(error), Ok(Err(exit))) => {
                Err(Failure::BodyAndExit {
                    body: unshare(error),
                    exit,
                })
            }
            (Body::Failed(error) | Body::FailedBeside(error), Err(payload)) => {
                report::error(context, Kind::BodyFailed, error);
                resume_unwind(payload)
            }

            (Body::Panicked(payload), exit) => {
                report_exit(failing, exit);
                resume_unwind(payload)
            }
        }
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> Owed<Infallible, E> {
    /// Returns the error of a body that has failed, whatever the exit returns.
    pub(crate) fn give_error_back<D>(
        self,
        failing: Failing,
        exit: Result<Result<D, E>, Payload>,
    ) -> E {
        let context = self.context;
        match (self.take(), exit) {
            (Body::Completed(never), _) => match never {},
            (Body::Panicked(payload), exit) => {
                report_exit(failing, exit);
                resume_unwind(payload)
            }
            (Body::Failed(error) | Body::FailedBeside(error), Ok(Ok(_))) => unshare(error),
            (Body::Failed(error) | Body::FailedBeside(error), Ok(Err(exit))) => {
                failing.report(Arc::new(exit));
                unshare(error)
            }
            (Body::Failed(error) | Body::FailedBeside(error), Err(payload)) => {
                report::error(context, Kind::BodyFailed, error);
                resume_unwind(payload)
            }
        }
    }
}

impl<R, E: fmt::Debug + Send + Sync + 'static> Drop for Owed<R, E> {
    #[inline]
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            report_unsettled(self.context, body);
        }
    }
}

/// Reports a panic of the body after the caller has gone, and drops any other result.
#[cold]
fn report_unsettled<R, E>(context: &'static str, body: Body<R, E>) {
    match body {
        Body::Panicked(payload) => report::panic(context, Kind::BodyPanicked, payload),
        body @ (Body::Completed(_) | Body::Failed(_) | Body::FailedBeside(_)) => {
            drop_quietly(context, body);
        }
    }
}

/// Reports an error or panic of the exit, because the caller gets the body's panic.
fn report_exit<D, E: fmt::Debug + Send + Sync + 'static>(
    failing: Failing,
    exit: Result<Result<D, E>, Payload>,
) {
    match exit {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => failing.report(Arc::new(error)),
        Err(payload) => report::panic(failing.context, Kind::Panicked, payload),
    }
}

/// Takes the error out of its `Arc`. Exit had a share, but has ended, and dropped the share with
/// its coroutine. (The exceptions: an exit that forgets, by `mem::forget`, the future of another
/// exit that it calls by hand, and the code of a hand-made generator that keeps its lender.)
pub(crate) fn unshare<E>(error: Arc<E>) -> E {
    Arc::into_inner(error).expect("exit has ended, and dropped its share in the outcome")
}
