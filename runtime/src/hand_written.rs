//! The code of a hand-written context, in one box with its value.
//!
//! The code is three futures, one after the other: enter, the future beside the body, and exit. The
//! methods `enter` and `beside` borrow the context. So each of the first two futures here owns the
//! context, and gives it back when it ends. In most contexts nothing runs beside the body. Then the
//! second future ends in the same poll as enter.
//!
//! As with all code, the [`Life`] of the context tells the holder how far the context is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::beside::{Alone, AloneEnd, end_in_this_poll};
use crate::code::{Company, Lends, Reached, Routine, Split, run};
use crate::context::AsyncContext;
use crate::exchange::{End, Life, Slot};
use crate::order;
use crate::outcome::Outcome;

/// Returns the code of this context.
#[inline]
pub(crate) fn hand_written<C: AsyncContext>(
    context: C,
) -> impl Routine<Value = C::Value, Output = Result<C::Verdict, C::Error>> + Send {
    HandWritten::new(enter(context), accompany, exit)
}

async fn enter<C: AsyncContext>(mut context: C) -> Result<(C, C::Value), C::Error> {
    let value = context.enter().await?;
    Ok((context, value))
}

/// Runs the future beside the body until the future ends or exit begins.
async fn accompany<C: AsyncContext>(mut context: C) -> (C, Option<End<C::Error>>) {
    // In a future, so that a panic of the call itself also ends only the body.
    let beside = async { context.beside().await };
    let end = match Alone::new(beside).await {
        AloneEnd::Itself(end) => end,
        AloneEnd::ByExit(name) => {
            // The contexts that the future opened must exit before this exit continues. The wait is
            // boxed because it is rare.
            Box::pin(order::what_this_exit_has_given_up(name)).await;
            None
        }
    };
    (context, end)
}

async fn exit<C: AsyncContext>(
    context: C,
    value: C::Value,
    outcome: Outcome,
) -> Result<C::Verdict, C::Error> {
    context.exit(value, &outcome).await
}

pin_project! {
    struct HandWritten<V, C, N, A, B, F, X> {
        life: Life,
        // Filled from the end of enter to the beginning of exit, except while the holder has taken
        // the value out.
        value: Option<V>,
        accompany: A,
        exit: F,
        #[pin]
        steps: Steps<C, N, B, X>,
    }
}

pin_project! {
    struct Steps<C, N, B, X> {
        // Filled while none of the futures owns the context.
        context: Option<C>,
        #[pin]
        now: Step<N, B, X>,
    }
}

pin_project! {
    #[project = Now]
    enum Step<N, B, X> {
        Entering { #[pin] enter: N },
        // Lasts until exit begins, even if the future has ended before.
        Beside { #[pin] beside: B },
        Exiting { #[pin] exit: X },
    }
}

impl<V, C, N, A, B, F, X> HandWritten<V, C, N, A, B, F, X>
where
    A: Fn(C) -> B,
    F: Fn(C, V, Outcome) -> X,
{
    #[inline]
    fn new(enter: N, accompany: A, exit: F) -> Self {
        Self {
            life: Life::default(),
            value: None,
            accompany,
            exit,
            steps: Steps {
                context: None,
                now: Step::Entering { enter },
            },
        }
    }
}

impl<V, C, N, A, B, F, X> Lends for HandWritten<V, C, N, A, B, F, X> {
    type Value = V;

    #[inline]
    fn life(&self) -> &Life {
        &self.life
    }

    #[inline]
    fn slot(self: Pin<&mut Self>) -> Slot<'_, V> {
        Slot::Own(self.project().value)
    }
}

impl<V, C, N, A, B, F, X, D, E> Routine for HandWritten<V, C, N, A, B, F, X>
where
    C: Send,
    N: Future<Output = Result<(C, V), E>> + Send,
    A: Fn(C) -> B,
    B: Future<Output = (C, Option<End<E>>)> + Send,
    F: Fn(C, V, Outcome) -> X,
    X: Future<Output = Result<D, E>> + Send,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Output = Result<D, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Reached<Result<D, E>> {
        let this = self.project();
        let life = &*this.life;
        let mut steps = this.steps;
        let polled = run(life, || {
            if let Now::Entering { enter } = steps.as_mut().project().now.project() {
                let (context, value) = match ready!(enter.poll(cx)) {
                    Ok(entered) => entered,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                let beside = (this.accompany)(context);
                steps.as_mut().project().now.set(Step::Beside { beside });
                if steps.poll_beside(life, cx).is_pending() {
                    life.begin_beside();
                }
                *this.value = Some(value);
                life.has_offered();
                return Poll::Pending;
            }
            if let Now::Beside { .. } = steps.as_mut().project().now.project() {
                if life.runs_beside() {
                    life.stop_beside();
                    end_in_this_poll();
                }
                ready!(steps.as_mut().poll_beside(life, cx));
                let Some(value) = this.value.take() else {
                    return Poll::Pending;
                };
                let outcome = life.begin_closing().share();
                let mut steps = steps.as_mut().project();
                let context = steps.context.take();
                let context = context.expect("what has run beside the body gave it back");
                let exit = (this.exit)(context, value, outcome);
                steps.now.set(Step::Exiting { exit });
            }
            match steps.project().now.project() {
                Now::Exiting { exit } => exit.poll(cx),
                Now::Entering { .. } | Now::Beside { .. } => {
                    unreachable!("they were polled, or replaced, above")
                }
            }
        });
        Reached::of(life, polled)
    }

    #[inline]
    fn split(self: Pin<&mut Self>) -> Split<'_, V> {
        let this = self.project();
        (this.life, Slot::Own(this.value), this.steps)
    }
}

impl<C, N, B, X, E> Steps<C, N, B, X>
where
    B: Future<Output = (C, Option<End<E>>)>,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Polls the future beside the body. Returns `Ready` once the future has ended and has given
    /// the context back.
    fn poll_beside(self: Pin<&mut Self>, life: &Life, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.context.is_none() {
            if let Now::Beside { beside } = this.now.project() {
                let (context, end) = ready!(beside.poll(cx));
                *this.context = Some(context);
                life.stop_beside();
                if let Some(end) = end {
                    life.end_from_beside(end, false);
                }
            }
        }
        Poll::Ready(())
    }
}

impl<C, N, B, X, E> Company for Steps<C, N, B, X>
where
    B: Future<Output = (C, Option<End<E>>)>,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn poll_beside(self: Pin<&mut Self>, life: &Life, cx: &mut Context<'_>) -> Poll<()> {
        // `Pending` even if the future has ended, because the code goes on with exit.
        run(life, || {
            let _ = Self::poll_beside(self, life, cx);
            Poll::Pending
        })
    }
}
