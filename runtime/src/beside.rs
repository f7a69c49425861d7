//! The future that the code of a context runs beside the body: the second argument of
//! [`yield_!`](crate::yield_), or [`AsyncContext::beside`](crate::AsyncContext::beside).
//!
//! The future is a part of the context's code, which meanwhile stands at its yield. While the
//! future runs, from the poll that yields to the beginning of exit, the holder of the context polls
//! the code. If the future ends the body, its error or panic is put into the
//! [`exchange`](crate::exchange), and then the holder ends the body.
//!
//! [Hand-written code](crate::hand_written) has no yield: there the future is an [`Alone`].

use std::any::type_name;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, PollFn, poll_fn};
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::exchange::End;
use crate::lender::{Lender, Yield};
use crate::order;
use crate::outcome::Outcome;
use crate::report::{self, Kind};

/// A future that may run beside the body: its output is `Result<(), E>`, where `E` is the error of
/// the context. The trait is implemented for every such future.
///
/// ```
/// use async_context_manager::generator::Beside;
/// use std::io;
///
/// fn runs_beside<E>(_: impl Beside<E>) {}
/// runs_beside::<io::Error>(async { Ok(()) });
/// ```
#[diagnostic::on_unimplemented(
    message = "what runs beside the body is a future that gives `Result<(), {E}>`",
    label = "not such a future",
    note = "write `yield_!(value, async {{ … Ok(()) }})`: `Err` ends the body, and `Ok(())` does not",
    note = "to lend several values, yield a tuple: `yield_!((a, b))`"
)]
pub trait Beside<E>: Future<Output = Result<(), E>> {}

#[diagnostic::do_not_recommend]
impl<B, E> Beside<E> for B where B: Future<Output = Result<(), E>> {}

impl<V, E> Lender<V, E> {
    /// Lends the value to the body, and runs the future beside the body until exit begins. An error
    /// of the future ends the body.
    ///
    /// # Panics
    ///
    /// If this function is called a second time, which the macro excludes.
    #[inline]
    pub fn yield_beside<B>(&self, value: V, beside: B) -> YieldBeside<'_, V, E, B>
    where
        B: Beside<E>,
        E: fmt::Debug + Send + Sync + 'static,
    {
        YieldBeside {
            end: self.yield_(value),
            beside: Some(beside),
            poll: B::poll,
            goes_on: false,
            given_up: None,
        }
    }

    /// Lends the value as `yield_beside` does. The future beside the body is the function `poll`,
    /// which may stand for the futures of several contexts. Therefore `poll` is called again after
    /// its error has ended the body, and may return another error.
    pub(crate) fn yield_beside_all<P>(&self, value: V, poll: P) -> YieldBeside<'_, V, E, PollFn<P>>
    where
        P: FnMut(&mut Context<'_>) -> Poll<Result<(), E>>,
    {
        YieldBeside {
            end: self.yield_(value),
            beside: Some(poll_fn(poll)),
            poll: PollFn::poll,
            goes_on: true,
            given_up: None,
        }
    }
}

pin_project! {
    /// The future that [`Lender::yield_beside`] returns. It waits for the end of the body, and
    /// meanwhile polls the future beside the body.
    ///
    /// ```
    /// use async_context_manager::generator::{YieldBeside, generator};
    /// use async_context_manager::prelude::*;
    /// use std::future::pending;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let hasty = generator("hasty", async move |lender| -> Result<(), String> {
    ///     let end: YieldBeside<'_, u32, String, _> =
    ///         lender.yield_beside(42, async { Err("no time".to_owned()) });
    ///     let (_number, _outcome) = end.await;
    ///     Ok(())
    /// });
    /// let result = hasty.with(async |_| pending::<Result<(), String>>().await).await;
    /// assert_eq!(result.unwrap_err(), "no time");
    /// # }
    /// ```
    #[must_use = "the context has no exit unless it is awaited"]
    pub struct YieldBeside<'l, V, E, B> {
        #[pin]
        end: Yield<'l, V, E>,
        // `None` once the future has ended, or exit has begun.
        #[pin]
        beside: Option<B>,
        // `B::poll`. With this, the struct needs no bound on `B`: if `B` is not a future, rustc
        // reports only the call.
        poll: fn(Pin<&mut B>, &mut Context<'_>) -> Poll<Result<(), E>>,
        // `true` if the future is polled again after it has ended the body.
        goes_on: bool,
        // The wait for the contexts that the future gave up when it dropped.
        given_up: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    }
}

impl<'l, V, E, B> Future for YieldBeside<'l, V, E, B>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    type Output = (V, &'l Outcome);

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let lender = this.end.lender;
        let link = lender.exchange();
        if !link.is_exiting() {
            let beside = this.beside.as_mut().as_pin_mut();
            if let Some(beside) = beside.filter(|_| !link.has_end()) {
                let goes_on = *this.goes_on;
                let Poll::Ready(end) = poll_for_end(|| (this.poll)(beside, cx)) else {
                    if this.end.is_new {
                        link.begin_beside();
                    }
                    this.end.is_new = false;
                    return Poll::Pending;
                };
                if end.is_none() || !goes_on {
                    stop(this.beside);
                    link.stop_beside();
                }
                if let Some(end) = end {
                    link.end_from_beside(end, goes_on);
                }
            }
            this.end.is_new = false;
            return Poll::Pending;
        }
        if this.beside.is_some() {
            stop(this.beside);
            link.stop_beside();
            // This exit goes on when the contexts that the future had opened have exited. A future
            // that stands for several contexts opens none itself, so there is nothing to wait for.
            if !*this.goes_on {
                let wait = order::what_this_exit_has_given_up(type_name::<B>());
                *this.given_up = Some(Box::pin(wait));
            }
        }
        if let Some(wait) = this.given_up {
            ready!(wait.as_mut().poll(cx));
            *this.given_up = None;
        }
        this.end.poll(cx)
    }
}

/// Polls the future. Once the future has ended, returns how the body must end, or `None` if the
/// body goes on.
#[inline]
fn poll_for_end<E>(poll: impl FnOnce() -> Poll<Result<(), E>>) -> Poll<Option<End<E>>> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(()))) => Poll::Ready(None),
        Ok(Poll::Ready(Err(error))) => Poll::Ready(Some(End::Failed(error))),
        Err(payload) => Poll::Ready(Some(End::Panicked(payload))),
    }
}

/// Drops the future beside the body. A panic in this drop is reported, because the exit must go on.
#[inline]
fn stop<B>(mut beside: Pin<&mut Option<B>>) {
    if !needs_drop::<B>() {
        return beside.set(None);
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| beside.set(None))) {
        report::panic(type_name::<B>(), Kind::Panicked, payload);
    }
}

thread_local! {
    /// `true` if the next poll of an [`Alone`] must end it.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// Signals that exit begins: the next [`Alone`] that this thread polls ends.
///
/// The [`Alone`] is inside the future of an `async fn`, which nobody can reach into, so the signal
/// is a thread-local. The caller must poll that future at once, so that no other code runs in
/// between.
pub(crate) fn end_in_this_poll() {
    ENDS.with(|ends| ends.set(true));
}

pin_project! {
    /// The future that a hand-written context runs beside the body. It is dropped when it ends or
    /// when exit begins.
    pub(crate) struct Alone<B> {
        #[pin]
        beside: Option<B>,
    }
}

/// How an [`Alone`] has ended.
pub(crate) enum AloneEnd<E> {
    /// The future ended by itself, and may have ended the body.
    Itself(Option<End<E>>),
    /// The exit ended the future. The name is for reports.
    ByExit(&'static str),
}

impl<B> Alone<B> {
    pub(crate) fn new(beside: B) -> Self {
        Self {
            beside: Some(beside),
        }
    }
}

impl<B, E> Future for Alone<B>
where
    B: Future<Output = Result<(), E>>,
{
    type Output = AloneEnd<E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AloneEnd<E>> {
        let mut this = self.project();
        if ENDS.with(Cell::take) {
            stop(this.beside);
            return Poll::Ready(AloneEnd::ByExit(type_name::<B>()));
        }
        let beside = this.beside.as_mut().as_pin_mut();
        let beside = beside.expect("it is polled until it has ended");
        let end = ready!(poll_for_end(|| beside.poll(cx)));
        stop(this.beside);
        Poll::Ready(AloneEnd::Itself(end))
    }
}

impl<V, E, B> fmt::Debug for YieldBeside<'_, V, E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YieldBeside").finish_non_exhaustive()
    }
}
