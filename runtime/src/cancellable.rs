//! The await that `cancellable!` marks.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::exchange::Mark;
use crate::lender::Lender;

pin_project! {
    /// The future that [`cancellable!`](crate::cancellable) evaluates to. It has the output of the
    /// future inside it.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::{io, sync::Arc};
    /// # use tokio::sync::{OwnedSemaphorePermit, Semaphore};
    /// #[async_context]
    /// async fn permit(seats: Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    ///     let permit = cancellable!(seats.acquire_owned()).await; // given up with its caller
    ///     let (permit, _) = yield_!(permit.map_err(io::Error::other)?);
    ///     drop(permit);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # permit(Arc::new(Semaphore::new(1))).with(async |_| Ok(())).await.unwrap();
    /// # }
    /// ```
    //
    // This is a type of its own, without bounds on its parameters. So if the argument is not a
    // future, rustc reports only the call. With an `async fn`, rustc would also report the type of
    // the call, and the place where the call is awaited.
    #[must_use = "a future does nothing unless it is awaited"]
    pub struct Cancellable<'l, V, E, F, T> {
        lender: &'l Lender<V, E>,
        // `None` once the future has ended.
        #[pin]
        future: Option<F>,
        poll: fn(Pin<&mut F>, &mut Context<'_>) -> Poll<T>,
        // The mark drops after the future: while the future drops, a caller may still give up.
        mark: Option<Mark<'l, V>>,
    }
}

impl<'l, V, E, F: Future> Cancellable<'l, V, E, F, F::Output> {
    pub(crate) fn new(lender: &'l Lender<V, E>, future: F) -> Self {
        Self {
            lender,
            future: Some(future),
            poll: F::poll,
            mark: None,
        }
    }
}

impl<V, E, F, T> Future for Cancellable<'_, V, E, F, T> {
    type Output = T;

    /// # Panics
    ///
    /// If the future is polled after it has ended.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut();
        let future = future.expect("it is polled until it has ended");
        let lender = *this.lender;
        this.mark.get_or_insert_with(|| lender.mark());
        let polled = (this.poll)(future, cx);
        if polled.is_ready() {
            this.future.set(None);
            *this.mark = None;
        }
        polled
    }
}

impl<V, E, F, T> fmt::Debug for Cancellable<'_, V, E, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellable").finish_non_exhaustive()
    }
}

impl<V, E> Lender<V, E> {
    /// Marks an await of enter that may be given up: see [`cancellable!`](crate::cancellable).
    pub fn cancellable<I, F, T>(&self, future: I) -> Cancellable<'_, V, E, F, T>
    where
        I: IntoFuture<IntoFuture = F, Output = T>,
        F: Future<Output = T>,
    {
        Cancellable::new(self, future.into_future())
    }
}
