//! The lender, through which the code of a context lends its value.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::exchange::{Exchange, Link, Mark};
use crate::observe::Part;
use crate::outcome::Outcome;
use crate::report::Kind;

/// Lends the value of a context to the body. [`yield_!`](crate::yield_) and
/// [`cancellable!`](crate::cancellable) call its methods. `E` is the error of the context.
pub struct Lender<V, E> {
    link: Link<V>,
    part: Part,
    error: PhantomData<fn(E)>,
}

impl<V, E> Lender<V, E> {
    #[inline]
    pub(crate) fn new(link: &Link<V>, part: Part) -> Self {
        Self {
            link: Arc::clone(link),
            part,
            error: PhantomData,
        }
    }

    /// Lends the value to the body, and waits until it comes back with the outcome.
    ///
    /// # Panics
    ///
    /// If the method is called a second time. The macro rules that out.
    #[inline]
    pub fn yield_(&self, value: V) -> Yield<'_, V, E> {
        self.link.offer(value);
        Yield {
            lender: self,
            is_new: true,
        }
    }

    /// Returns `true` once the body has ended. Exit may still wait for its turn then, and meanwhile
    /// the future beside the body runs on. An error of that future comes too late to end the body,
    /// so it is only [reported](crate::report). If the caller must get the error, the future keeps
    /// it for the exit and returns `Ok(())`.
    ///
    /// ```
    /// use async_context_manager::generator::{Lender, generator};
    /// use async_context_manager::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let lease = generator("lease", async move |lender: Lender<(), &'static str>| {
    ///     let mut is_lost = false;
    ///     let renew = async {
    ///         tokio::task::yield_now().await; // somebody else has taken the lease
    ///         if lender.is_body_over() {
    ///             is_lost = true;
    ///             return Ok(());
    ///         }
    ///         Err("lost")
    ///     };
    ///     let (_, _outcome) = lender.yield_beside((), renew).await;
    ///     if is_lost { Err("lost") } else { Ok::<(), _>(()) }
    /// });
    /// let body = async |_: &mut ()| Ok(std::future::pending::<()>().await);
    /// assert_eq!(lease.with(body).await, Err("lost"));
    /// # }
    /// ```
    #[must_use]
    pub fn is_body_over(&self) -> bool {
        self.link.has_yielded() && !self.link.has_a_body()
    }

    /// Returns a lender for code with another error type. If the future beside the body ends the
    /// body, the error has this other type until the code around converts the error.
    pub(crate) fn for_other_errors<T>(&self) -> Lender<V, T> {
        Lender::new(&self.link, self.part.clone())
    }

    /// Returns a mark. While the mark exists, a caller that gives up drops the context on the spot.
    pub(crate) fn mark(&self) -> Mark<'_, V> {
        Mark::new(&self.link)
    }

    /// Takes over how the exit of a part has ended. If a time limit has cut the part off, an error
    /// of this context's exit is reported as [`TimedOut`](Kind::TimedOut).
    pub(crate) fn fail_as(&self, kind: Kind) {
        if kind == Kind::TimedOut {
            self.link.cut_off();
        }
    }

    /// Returns the handle for a part of this context. To the observer, the part is this context,
    /// even when the part goes on alone.
    pub(crate) fn part(&self) -> &Part {
        &self.part
    }

    /// Returns the exchange, for code around the lender's code that must know how far that code has
    /// come.
    pub(crate) fn link(&self) -> Link<V> {
        Arc::clone(&self.link)
    }

    #[inline]
    pub(crate) fn exchange(&self) -> &Exchange<V> {
        &self.link
    }
}

/// The reason for an `expect` on a value: an enter that has succeeded has lent the value.
pub(crate) const OFFERED: &str = "a context that was entered has lent a value";

/// The wait for the end of the body: the future that [`Lender::yield_`] returns.
///
/// ```
/// use async_context_manager::generator::{Yield, generator};
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let number = generator("number", async move |lender| -> Result<(), String> {
///     let end: Yield<'_, u32, String> = lender.yield_(42);
///     let (_number, _outcome) = end.await;
///     Ok(())
/// });
/// assert_eq!(number.with(async |number| Ok(*number)).await, Ok(42));
/// # }
/// ```
//
// The value is in the exchange. If this struct held the value, a large value would be moved once
// more.
#[must_use = "the context has no exit unless it is awaited"]
pub struct Yield<'l, V, E> {
    pub(crate) lender: &'l Lender<V, E>,
    /// `true` until the first poll, which tells the holder that the value was lent.
    pub(crate) is_new: bool,
}

impl<'l, V, E> Future for Yield<'l, V, E> {
    type Output = (V, &'l Outcome);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        if mem::take(&mut self.is_new) {
            return Poll::Pending;
        }
        self.lender.link.poll_returned()
    }
}

impl<V, E> fmt::Debug for Yield<'_, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yield").finish_non_exhaustive()
    }
}

impl<V, E> fmt::Debug for Lender<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lender").finish_non_exhaustive()
    }
}
