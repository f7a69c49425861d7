//! A context in the caller's own frame, where `?`, `return` and `break` work as usual.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::body::SendBody;
use crate::context::{AsyncContext, Verdict};
use crate::coroutine::{Code, report_late};
use crate::driven::Ended;
use crate::failure::Failure;
use crate::order::{Home, Kind as Hold};
use crate::outcome::Outcome;
use crate::panic::resume;
use crate::report::drop_quietly;
use crate::scope::{Accompanied, Held, Live};
use crate::settle::{Body, Owed, unshare};

/// A context that [`guard`](crate::AsyncContextExt::guard) has entered. The guard dereferences to
/// the value.
///
/// [`Guard::exit`], [`Guard::close`] and the other functions are associated functions, so that they
/// never hide a method of the value.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # async fn example(log: impl AsyncContext<Value = Vec<u8>, Error = io::Error, Verdict = ()> + 'static) -> io::Result<usize> {
/// let mut lines = log.guard().await?;
/// for line in 0..10 {
///     if line == 7 {
///         break;
///     }
///     lines.push(line);
/// }
/// let length = lines.len();
/// Guard::exit(lines, Ok(length)).await
/// # }
/// ```
///
/// # Drop
///
/// A guard that is dropped exits in the background as [`Cancelled`](crate::Outcome::Cancelled).
/// Such a drop comes from an early return, a `?`, a panic, or the drop of the future around the
/// guard. To let the exit see an error, pass the error to [`Guard::exit`] or [`Guard::fail`].
///
/// # Order
///
/// Guards that a function holds side by side exit in reverse order, as the locals drop. The exit of
/// a guard begins when these have ended:
///
/// - each context that has been given up and is inside the guard's context. A context is inside if
///   the guard's enter opened it, if a part of the guard's body under [`Guard::run`] opened it, or
///   if [`inside`](crate::AsyncContextExt::inside) put it there;
/// - each younger context at the guard's side, if the same code gave it up before the guard, and if
///   it closes in the background. *Younger* means opened later. *The same code* is the same task,
///   or the same exit;
/// - each younger context that the exit of such a context has left behind.
///
/// These exits have no order:
///
/// - the exit of an older guard, and the exit of a younger guard that is given up after the older
///   one. A `Vec` drops its guards from the first to the last, and a struct drops its fields from
///   top to bottom. An [`ExitStack`](crate::ExitStack) exits in reverse;
/// - exits that the same task awaits at the same time, as in
///   `join!(Guard::close(older), Guard::close(younger))`;
/// - guards that different tasks give up, unless one is inside the other;
/// - guards outside tokio that are inside no context;
/// - an [`independent`](crate::AsyncContextExt::independent) guard and its neighbours.
///
/// The arms of a `join!` and the futures of a `FuturesUnordered` belong to the task that polls
/// them. Therefore an older guard in one arm waits for a younger guard that another arm dropped
/// before. If that wait is too slow, make the guards independent, or use
/// [`with`](crate::AsyncContextExt::with), which never waits for its neighbours. See the guide:
/// [the order](crate::guide::order).
#[must_use = "a guard that is dropped at once exits its context as cancelled"]
pub struct Guard<C: AsyncContext>
where
    C::Value: 'static,
{
    held: Held<Code<C::Value, C::Verdict, C::Error>>,
    /// Tells when the future beside the body has ended the body. `None` if no future runs beside
    /// the body.
    ended: Option<Arc<Ended>>,
}

impl<C: AsyncContext + 'static> Guard<C> {
    pub(crate) async fn enter(context: C) -> Result<Self, C::Error> {
        let mut live = Live::new(context, Hold::Guard);
        resume(live.enter().await)?;
        let ended = live.drive().map(|(driver, ended)| {
            driver.spawn();
            ended
        });
        Ok(Self {
            held: Held::new(live),
            ended,
        })
    }

    /// Ends the body with its result, unless the future beside the body ended the body before.
    fn end<R>(&mut self, body: Body<R, C::Error>) -> Owed<R, C::Error> {
        self.tell_driver();
        let live = self.held.take_back();
        let body = match &self.ended {
            None => body,
            Some(ended) => match live.take_end() {
                Some(end) => body.ended_before(live.name(), end),
                None if ended.is_given() => body.marked_from_beside(),
                None => body,
            },
        };
        live.end_with(body)
    }

    /// Tells the driver of the future beside the body that the body has ended.
    fn tell_driver(&self) {
        if let Some(ended) = &self.ended {
            ended.end_body();
        }
    }

    /// Returns the home for contexts that are put inside this context.
    pub(crate) fn home(&self) -> Home {
        self.held.home()
    }

    /// Exits the context. Returns what [`with`](crate::AsyncContextExt::with) returns for a body
    /// with this result. To exit with the [`Outcome`] of another body, call
    /// [`exit_as`](Self::exit_as).
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let mut number = number().guard().await?;
    /// *number += 1;
    /// let result = Ok(*number); // an `Err` would be seen by exit
    /// assert_eq!(Guard::exit(number, result).await?, 43);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the result, or else the exit's error. If both fail, the exit's error is
    /// reported. If the future [beside](crate::guide::beside) the body ended the body before, the
    /// error of that future replaces the result: an error in the result is reported, and a value in
    /// the result drops.
    ///
    /// # Panics
    ///
    /// If exit panics, or if the future [beside](crate::guide::beside) the body has panicked.
    ///
    /// # Cancel safety
    ///
    /// The call itself ends the body. If the future is dropped, even before its first poll, the
    /// exit goes on in the background.
    pub fn exit<R>(
        mut guard: Self,
        result: Result<R, C::Error>,
    ) -> impl Future<Output = Result<<C::Verdict as Verdict>::Output<R>, C::Error>> {
        let owed = guard.end(Body::of(result));
        async move {
            let live = guard.held.take_back();
            let exit = live.exit().await;
            Failure::reporting(live.failing(), owed.settle(live.failing(), exit))
        }
    }

    /// Exits the context as completed.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let number = number().guard().await?;
    /// assert_eq!(*number, 42);
    /// Guard::close(number).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The exit's error, or the error of the future [beside](crate::guide::beside) the body, if
    /// that future ended the body before.
    ///
    /// # Panics
    ///
    /// If exit panics, or if the future [beside](crate::guide::beside) the body has panicked.
    ///
    /// # Cancel safety
    ///
    /// As [`Guard::exit`].
    pub fn close(mut guard: Self) -> impl Future<Output = Result<(), C::Error>> {
        let owed = guard.end(Body::of(Ok(())));
        async move {
            let live = guard.held.take_back();
            let exit = live.exit().await;
            let result = Failure::reporting(live.failing(), owed.settle(live.failing(), exit));
            result.map(|_| ())
        }
    }

    /// Exits the context with the outcome of another body: for a context that is built on this one.
    ///
    /// The exit sees how the outer body ended. The caller must return the exit's verdict and error.
    ///
    /// ```
    /// use async_context_manager::prelude::*;
    /// use std::io;
    ///
    /// #[async_context]
    /// async fn transaction() -> io::Result<Vec<&'static str>> {
    ///     let (statements, outcome) = yield_!(vec!["BEGIN"]);
    ///     println!("{statements:?}, {}", if outcome.is_completed() { "COMMIT" } else { "ROLLBACK" });
    ///     Ok(())
    /// }
    ///
    /// /// A transaction for one tenant.
    /// #[async_context]
    /// async fn tenant(name: &'static str) -> io::Result<Guard<BoxContext<Vec<&'static str>,
    /// io::Error>>> {
    ///     let mut tx = transaction().boxed().guard().await?;
    ///     tx.push(name);
    ///     let (tx, outcome) = yield_!(tx);
    ///     Guard::exit_as(tx, outcome).await // a ROLLBACK if the body of `tenant` has failed
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let count = tenant("acme").with(async |tx| Ok(tx.len())).await?;
    /// assert_eq!(count, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Usually the exit's error. If the other body has completed, but the future
    /// [beside](crate::guide::beside) the guard's own body has failed, the error of that future. An
    /// error of the exit is reported in that case. If the exit suppresses the error of the future,
    /// there is no error.
    ///
    /// # Panics
    ///
    /// If exit panics, or if the other body has completed and the future
    /// [beside](crate::guide::beside) the guard's own body has panicked.
    ///
    /// # Cancel safety
    ///
    /// As [`Guard::exit`], unless `outcome` is [`Failed`](crate::Outcome::Failed). Then the exit
    /// shares the error with the caller of the outer context. An exit in the background would keep
    /// its share, and the caller could not get the error. So if the future is dropped, for instance
    /// by a [limit](crate::AsyncContextExt::exit_timeout) on the outer exit, the exit is dropped
    /// where it stands. It does not go on in the background, and that is
    /// [reported](crate::report::Kind::NotRun). If the outer exit goes on in the background, the
    /// future is a part of it, and goes on too. A program cannot keep the future for longer,
    /// because the future borrows the outcome.
    pub fn exit_as(
        mut guard: Self,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<C::Verdict, C::Error>> + use<'_, C> {
        guard.tell_driver();
        let live = guard.held.take_back();
        let mut owed = None;
        match live.take_end() {
            // The outer body does not know of this end yet.
            Some(end) if outcome.is_completed() => {
                owed = Some(live.end_with(Body::<Infallible, _>::from(end)));
            }
            end => {
                if let Some(end) = end {
                    report_late(live.name(), end);
                }
                if outcome.is_failed() {
                    live.become_dependent();
                }
                live.end_body(outcome.share());
            }
        }
        async move {
            let live = guard.held.take_back();
            let exit = live.exit().await;
            let Some(owed) = owed else {
                return resume(exit);
            };
            match exit {
                Ok(Ok(verdict)) if verdict.suppressed::<()>().is_some() => {
                    drop_quietly(live.name(), owed.take());
                    Ok(C::Verdict::PROPAGATE)
                }
                exit => Err(owed.give_error_back(live.failing(), exit)),
            }
        }
    }

    /// Exits the context as failed with this error, and returns the error: for an early return.
    ///
    /// If a guard is left by `?`, its exit does not see the error: the exit runs in the background,
    /// as cancelled.
    ///
    /// ```
    /// use async_context_manager::prelude::*;
    /// use std::io;
    ///
    /// # #[async_context]
    /// # async fn child() -> io::Result<String> {
    /// #     let (_, outcome) = yield_!("child".to_owned());
    /// #     assert!(outcome.is_failed());
    /// #     Ok(())
    /// # }
    /// # async fn is_ready(_: &str) -> io::Result<()> { Err(io::ErrorKind::TimedOut.into()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// async fn start() -> io::Result<()> {
    ///     let child = child().guard().await?;
    ///     if let Err(error) = is_ready(&child).await {
    ///         return Err(Guard::fail(child, error).await); // the child is gone when this returns
    ///     }
    ///     Guard::close(child).await
    /// }
    /// assert_eq!(start().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    /// # }
    /// ```
    ///
    /// If the exit [suppresses](crate::Suppression) the error, that changes nothing here. An error
    /// of the exit is [reported](crate::report).
    ///
    /// # Panics
    ///
    /// If exit panics. The error is reported in that case.
    ///
    /// # Cancel safety
    ///
    /// As [`Guard::exit`]. If the future is dropped, the error is reported once the exit has ended,
    /// unless the exit suppresses it.
    pub fn fail(mut guard: Self, error: C::Error) -> impl Future<Output = C::Error> + use<C> {
        guard.tell_driver();
        let body = Body::<Infallible, _>::of(Err(error));
        let live = guard.held.take_back();
        if let Some(end) = live.take_end() {
            report_late(live.name(), end);
        }
        let owed = live.end_with(body);
        async move {
            let live = guard.held.take_back();
            let exit = live.exit().await;
            owed.give_error_back(live.failing(), exit)
        }
    }

    /// Runs a part of the body. A context that the part opens is inside the guard's context.
    ///
    /// The guard remains usable afterwards, however the part ended.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let mut number = number().guard().await?;
    /// let half = Guard::run(&mut number, async |number| Ok(*number / 2)).await?;
    /// assert_eq!((half, *number), (21, 42));
    /// Guard::close(number).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The part's error. If the future [beside](crate::guide::beside) the body ends the body, the
    /// part drops, and `run` returns the error of that future. The exit then does not return that
    /// error again.
    ///
    /// # Panics
    ///
    /// If the part or the future [beside](crate::guide::beside) the body panics.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the part drops. The guard remains usable.
    pub fn run<R, F>(
        guard: &mut Self,
        part: F,
    ) -> impl Future<Output = Result<R, C::Error>> + Send + use<'_, C, R, F>
    where
        R: Send,
        F: for<'a> SendBody<&'a mut C::Value, Result<R, C::Error>>,
    {
        let Self { held, ended } = guard;
        async move {
            let (place, value, companion) = held.lend();
            match Accompanied::new(place, companion, || part(value)).await {
                Body::Completed(value) => Ok(value),
                Body::Failed(error) => Err(unshare(error)),
                Body::FailedBeside(error) => {
                    if let Some(ended) = ended {
                        ended.give();
                    }
                    Err(unshare(error))
                }
                Body::Panicked(payload) => resume_unwind(payload),
            }
        }
    }

    /// Waits until the future [beside](crate::guide::beside) the body ends the body. The returned
    /// future borrows nothing: use it in a `select!`, or in a task that must know of the end.
    ///
    /// The returned future never ends if nothing runs beside the body, or if the guard is gone
    /// first. It does not give the error: [`run`](Self::run) or [`exit`](Self::exit) returns the
    /// error.
    ///
    /// ```
    /// use async_context_manager::prelude::*;
    ///
    /// #[async_context]
    /// async fn hasty() -> Result<u32, &'static str> {
    ///     let (_, _) = yield_!(42, async {
    ///         tokio::task::yield_now().await;
    ///         Err("no time")
    ///     });
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let guard = hasty().guard().await.unwrap();
    /// Guard::ended(&guard).await;
    /// assert_eq!(Guard::exit(guard, Ok(1)).await, Err("no time"));
    /// # }
    /// ```
    pub fn ended(guard: &Self) -> impl Future<Output = ()> + Send + use<C> {
        let ended = guard.ended.clone();
        async move {
            match ended {
                Some(ended) => ended.wait().await,
                None => pending().await,
            }
        }
    }
}

impl<C: AsyncContext + 'static> Deref for Guard<C> {
    type Target = C::Value;

    fn deref(&self) -> &C::Value {
        self.held.value()
    }
}

impl<C: AsyncContext + 'static> DerefMut for Guard<C> {
    fn deref_mut(&mut self) -> &mut C::Value {
        self.held.value_mut()
    }
}

impl<C: AsyncContext + 'static> fmt::Debug for Guard<C>
where
    C::Value: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&**self).finish()
    }
}
