//! A stream that owns a context: its items come from the body.
//!
//! The body is a part of the stream's own future, which runs while the stream is polled. An item
//! goes from the body to the poll through one [`Slot`]. The poll takes the item before it returns,
//! so the slot is empty between two polls of the stream, and the body is never more than one item
//! ahead.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use futures_core::stream::{FusedStream, Stream};

use crate::body::StreamBody;
use crate::context::AsyncContext;
use crate::failure::Failure;
use crate::lock::lock;
use crate::order::Kind as Hold;
use crate::scope::{self, Live};

/// Sends the items of a [`stream`](crate::AsyncContextExt::stream): the second argument of its
/// body.
///
/// ```
/// use async_context_manager::{contexts::ready, prelude::*, Items};
/// use futures::TryStreamExt;
/// use std::convert::Infallible;
///
/// async fn count_to(last: &mut u32, items: &mut Items<u32>) -> Result<(), Infallible> {
///     for number in 1..=*last {
///         items.send(number).await;
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let numbers = ready(3).stream(count_to);
/// assert_eq!(numbers.try_collect::<Vec<_>>().await, Ok(vec![1, 2, 3]));
/// # }
/// ```
pub struct Items<T>(Arc<Mutex<Slot<T>>>);

/// The place through which an item goes from the body to the poll.
struct Slot<T> {
    item: Option<T>,
    /// The waker of the current poll of the stream. If the part of the body that sends was polled
    /// with this waker, the next poll of the stream reaches that part anyway, so `sender` stays
    /// empty.
    poller: Option<Waker>,
    /// The waker of the part of the body that has sent the item, if this is not the poller's waker:
    /// for example under a `FuturesUnordered`. The next poll of the stream wakes it.
    sender: Option<Waker>,
}

impl<T> Items<T> {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Slot {
            item: None,
            poller: None,
            sender: None,
        })))
    }

    /// Gives the item to the consumer of the stream, and waits until the consumer has taken the
    /// item and asks for the next item.
    ///
    /// ```
    /// use async_context_manager::{contexts::ready, prelude::*};
    /// use futures::TryStreamExt;
    /// use std::convert::Infallible;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let words = ready::<_, Infallible>("one two").stream(async |text, items| {
    ///     for word in text.split(' ') {
    ///         items.send(word).await;
    ///     }
    ///     Ok(())
    /// });
    /// assert_eq!(words.try_collect::<Vec<_>>().await, Ok(vec!["one", "two"]));
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before the item was taken, the item drops as well, and is not sent.
    pub fn send(&mut self, item: T) -> impl Future<Output = ()> + use<'_, T> {
        let mut sending = Sending {
            slot: &self.0,
            state: State::New(item),
        };
        poll_fn(move |cx| sending.poll(cx))
    }

    /// Sends all items of a stream of results, until the first error. Then returns that error, so
    /// that the body can use `?`.
    ///
    /// ```
    /// use async_context_manager::{contexts::ready, prelude::*};
    /// use futures::{TryStreamExt, stream};
    /// use std::io;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let numbers = ready::<_, io::Error>([1, 2]).stream(async |numbers, items| {
    ///     let rows = stream::iter(*numbers).map(Ok::<_, io::Error>);
    ///     items.send_all(rows).await?;
    ///     items.send(3).await;
    ///     Ok(())
    /// });
    /// assert_eq!(numbers.try_collect::<Vec<_>>().await?, [1, 2, 3]);
    /// # use futures::StreamExt as _;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first error that the stream gives. After that error, the stream is not polled.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send). Items that were taken before have been sent.
    pub async fn send_all<E>(&mut self, stream: impl Stream<Item = Result<T, E>>) -> Result<(), E> {
        let mut stream = pin!(stream);
        while let Some(item) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            self.send(item?).await;
        }
        Ok(())
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

/// An item on its way into the slot, and out of it.
struct Sending<'i, T> {
    slot: &'i Mutex<Slot<T>>,
    state: State<T>,
}

enum State<T> {
    New(T),
    InSlot,
    Taken,
}

impl<T> Sending<'_, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut slot = lock(self.slot);
        // If the slot is full, the poll of the stream that is going on empties it.
        if slot.item.is_none() {
            match mem::replace(&mut self.state, State::Taken) {
                State::New(item) => {
                    slot.item = Some(item);
                    self.state = State::InSlot;
                }
                State::InSlot | State::Taken => return Poll::Ready(()),
            }
        }
        slot.note(cx.waker());
        Poll::Pending
    }
}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        if let State::InSlot = self.state {
            let item = lock(self.slot).item.take();
            drop(item);
        }
    }
}

impl<T> Slot<T> {
    fn note(&mut self, waker: &Waker) {
        let is_polled_anyway = self
            .poller
            .as_ref()
            .is_some_and(|poller| poller.will_wake(waker));
        if !is_polled_anyway {
            self.sender = Some(waker.clone());
        }
    }
}

struct Streaming<T, F> {
    /// The future that uses the context. `None` once it has ended or panicked.
    run: Option<Pin<Box<F>>>,
    slot: Arc<Mutex<Slot<T>>>,
}

// The future is in a box, and the items are not pinned.
impl<T, F> Unpin for Streaming<T, F> {}

/// Uses the context, and returns the items that its body sends.
pub(crate) fn stream<C, T, B>(
    context: C,
    body: B,
) -> impl FusedStream<Item = Result<T, C::Error>> + Unpin
where
    C: AsyncContext + 'static,
    B: for<'a, 'i> StreamBody<&'a mut C::Value, &'i mut Items<T>, Result<(), C::Error>>,
{
    let mut items = Items::new();
    let slot = Arc::clone(&items.0);
    let run = scope::run(
        context,
        // A stream is held between polls, side by side with other contexts, like a guard.
        |context| Live::new(context, Hold::Guard),
        async move |value: &mut C::Value| body(value, &mut items).await,
        Failure::reporting,
    );
    Streaming {
        run: Some(Box::pin(run)),
        slot,
    }
}

impl<T, F, D, E> Stream for Streaming<T, F>
where
    F: Future<Output = Result<D, E>>,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Taken out, so that a future that panics is not polled again.
        let Some(mut run) = self.run.take() else {
            return Poll::Ready(None);
        };
        self.begin(cx.waker());
        if let Poll::Ready(ended) = run.as_mut().poll(cx) {
            return Poll::Ready(ended.err().map(Err));
        }
        self.run = Some(run);
        let item = ready!(self.take());
        Poll::Ready(Some(Ok(item)))
    }
}

impl<T, F> Streaming<T, F> {
    /// Wakes the part of the body whose item the previous poll took.
    fn begin(&self, waker: &Waker) {
        // Cloned and dropped without the lock, because a waker may run code of the user.
        let poller = waker.clone();
        let (before, sender) = {
            let mut slot = lock(&self.slot);
            (slot.poller.replace(poller), slot.sender.take())
        };
        if let Some(sender) = sender {
            sender.wake();
        }
        drop(before);
    }

    fn take(&self) -> Poll<T> {
        match lock(&self.slot).item.take() {
            Some(item) => Poll::Ready(item),
            None => Poll::Pending,
        }
    }
}

impl<T, F, D, E> FusedStream for Streaming<T, F>
where
    F: Future<Output = Result<D, E>>,
{
    fn is_terminated(&self) -> bool {
        self.run.is_none()
    }
}
