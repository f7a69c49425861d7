//! A context in the caller's own frame, where `?`, `return` and `break` work as ever.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};

use crate::context::{AsyncContext, Verdict};
use crate::coroutine::Code;
use crate::failure::Failure;
use crate::order::{Home, Kind as Hold};
use crate::scope::{Held, Live};
use crate::settle::Body;

/// A context that has been entered by [`guard`](crate::AsyncContextExt::guard). It derefs to the
/// value.
///
/// [`Guard::exit`] and [`Guard::close`] are associated functions, so that they never hide a method
/// of the value.
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
/// Dropped without one of the two, by an early return, a `?`, a panic or because the future around
/// it is dropped, it is exited in the background as [`Cancelled`](crate::Outcome::Cancelled).
/// Whoever wants the exit to see an error passes it to [`Guard::exit`].
///
/// # Order
///
/// Guards that a function holds side by side exit in reverse order, as the locals drop. The exit of
/// a guard begins when these have ended:
///
/// - everything inside of its context that has been given up: what its enter and its exit have
///   opened, and what was put [`inside`](crate::AsyncContextExt::inside) of it by name;
/// - each younger context beside it that the same code gave up before it and that closes in the
///   background, and the younger contexts that the exits of these have left behind. *Younger* means
///   opened later. The same code is the same task, or the same exit.
///
/// There is no order between
///
/// - an older guard and a younger one that is given up after it. A `Vec` or a struct drops its
///   parts, and so its guards, in the order in which they are written; an
///   [`ExitStack`](crate::ExitStack) exits in reverse;
/// - exits that the same task awaits beside each other, as in
///   `join!(Guard::close(older), Guard::close(younger))`;
/// - guards that different tasks give up;
/// - guards outside of tokio that are not inside of any context;
/// - an [`independent`](crate::AsyncContextExt::independent) guard and its neighbours.
///
/// The arms of a `join!` and the futures of a `FuturesUnordered` belong to the task that polls
/// them. So an older guard in one arm waits for a younger one that another arm has dropped before.
/// Where that is too slow, make the guards independent, or use
/// [`with`](crate::AsyncContextExt::with), which never waits for what is beside it. The guide has a
/// page on [the order](crate::guide::order).
#[must_use = "a guard that is dropped at once exits its context as cancelled"]
pub struct Guard<C: AsyncContext>
where
    C::Value: 'static,
{
    held: Held<C::Value, Code<C::Verdict, C::Error>>,
}

impl<C: AsyncContext + 'static> Guard<C> {
    pub(crate) async fn enter(context: C) -> Result<Self, C::Error> {
        let mut live = Live::new(context, Hold::Guard);
        live.enter().await?;
        Ok(Self {
            held: Held::new(live),
        })
    }

    /// For contexts that are put inside of it.
    pub(crate) fn home(&self) -> Home {
        self.held.home()
    }

    /// Exits the context; gives what [`with`](crate::AsyncContextExt::with) gives for a body that
    /// returned this result.
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
    /// let result = Ok(*number); // or an error, which exit then sees
    /// assert_eq!(Guard::exit(number, result).await?, 43);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The result's error; the exit's where the result is `Ok`. A second error is reported.
    ///
    /// # Panics
    ///
    /// If exit panics.
    ///
    /// # Cancel safety
    ///
    /// The body ends with the call itself. The exit goes on in the background when the future is
    /// dropped, also before its first poll.
    pub fn exit<R>(
        mut guard: Self,
        result: Result<R, C::Error>,
    ) -> impl Future<Output = Result<<C::Verdict as Verdict>::Output<R>, C::Error>> {
        let owed = guard.held.take_back().end_with(Body::of(result));
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
    /// The exit's error.
    ///
    /// # Panics
    ///
    /// If exit panics.
    ///
    /// # Cancel safety
    ///
    /// As [`Guard::exit`].
    pub fn close(mut guard: Self) -> impl Future<Output = Result<(), C::Error>> {
        let owed = guard.held.take_back().end_with(Body::of(Ok(())));
        async move {
            let live = guard.held.take_back();
            let exit = live.exit().await;
            let result = owed.settle(live.failing(), exit);
            result.map(|_| ()).map_err(Failure::into_primary)
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
