//! The code of a context, as the holder of the context drives it.
//!
//! A [`Routine`] enters, lends its value, waits until the value comes back with the outcome, and
//! exits. There are two kinds:
//!
//! - [`Lending`] is one future from enter to exit. It lends its value through a [`Lender`], and
//!   shares an [`Exchange`](crate::exchange::Exchange) with the holder. Generators are such code,
//!   and so are contexts that are made of others.
//! - [Hand-written code](crate::hand_written) is three futures: enter, the future beside the body,
//!   and exit. The routine itself keeps the value during the body, so nothing is shared.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::exchange::{Life, Link, Loan, Slot};
use crate::lender::Lender;
use crate::observe::Part;

/// The parts of a context that its holder may use between two polls: the [`Life`], which tells how
/// far the context is, and the [`Slot`], which has the value.
pub(crate) trait Lends {
    type Value;

    fn life(&self) -> &Life;

    fn slot(self: Pin<&mut Self>) -> Slot<'_, Self::Value>;
}

/// The code of a context: its enter and its exit, with room for the body in between.
pub(crate) trait Routine: Lends {
    type Output;

    /// Continues enter or exit.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Reached<Self::Output>;

    /// Returns the life, the slot and the future beside the body separately, because that future is
    /// polled while the body has the value.
    fn split(self: Pin<&mut Self>) -> Split<'_, Self::Value>;
}

pub(crate) enum Reached<T> {
    /// Enter or exit waits.
    Waits,
    /// Enter has succeeded, and the value is lent.
    Lends,
    /// The code has ended.
    Ended(T),
}

impl<T> Reached<T> {
    #[inline]
    pub(crate) fn of(life: &Life, polled: Poll<T>) -> Self {
        match polled {
            Poll::Pending if life.is_lent() => Self::Lends,
            Poll::Pending => Self::Waits,
            Poll::Ready(output) => Self::Ended(output),
        }
    }
}

/// The life of a context, the slot of its value, and the future beside its body.
pub(crate) type Split<'c, V> = (
    &'c Life,
    Slot<'c, V>,
    Pin<&'c mut (dyn Company + Send + 'c)>,
);

/// The future that a context runs beside its body.
pub(crate) trait Company {
    /// Polls the future. Returns `Ready` if the whole code has ended, which the macro excludes.
    fn poll_beside(self: Pin<&mut Self>, life: &Life, cx: &mut Context<'_>) -> Poll<()>;
}

/// Code that lends through a [`Lender`] stands at its yield while the body runs, so a poll of the
/// code polls the future beside the body.
impl<F: Future> Company for F {
    fn poll_beside(self: Pin<&mut Self>, life: &Life, cx: &mut Context<'_>) -> Poll<()> {
        run(life, || self.poll(cx)).map(|_| ())
    }
}

/// Polls the code, and ends the life of the context if the code returns or panics.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is called twice in the life of a context that never waits"
)]
pub(crate) fn run<T>(life: &Life, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
    let running = life.run();
    let polled = poll();
    if polled.is_pending() {
        running.goes_on();
    }
    polled
}

pin_project! {
    /// Code that lends its value through a [`Lender`].
    pub(crate) struct Lending<V, F> {
        link: Link<V>,
        #[pin]
        code: F,
    }
}

impl<V, F> Lending<V, F> {
    #[inline]
    pub(crate) fn new<E>(part: Part, code: impl FnOnce(Lender<V, E>) -> F) -> Self {
        let link = Link::default();
        let lender = Lender::new(&link, part);
        Self {
            link,
            code: code(lender),
        }
    }

    /// Returns the loan of the value. The value comes back when the loan ends.
    pub(crate) fn loan(&self) -> Loan<V> {
        Loan::new(&self.link)
    }
}

impl<V, F> Lends for Lending<V, F> {
    type Value = V;

    #[inline]
    fn life(&self) -> &Life {
        &self.link
    }

    #[inline]
    fn slot(self: Pin<&mut Self>) -> Slot<'_, V> {
        Slot::Shared(self.project().link)
    }
}

impl<V, F: Future + Send> Routine for Lending<V, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Reached<F::Output> {
        let this = self.project();
        let polled = run(this.link, || this.code.poll(cx));
        Reached::of(this.link, polled)
    }

    #[inline]
    fn split(self: Pin<&mut Self>) -> Split<'_, V> {
        let this = self.project();
        let link = &*this.link;
        (link, Slot::Shared(link), this.code)
    }
}
