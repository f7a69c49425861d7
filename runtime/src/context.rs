//! The contract of a context, and what its exit may decide.

use std::fmt;
use std::future::Future;

use crate::lender::Lender;
use crate::outcome::Outcome;

/// Something that is opened, lent to a body, and closed: `async with` for Rust.
///
/// Most contexts are written as one function under [`#[async_context]`](crate::async_context). A
/// context can also be a type with two `async fn`s, like a Python class with `__aenter__` and
/// `__aexit__`. The methods of [`AsyncContextExt`](crate::AsyncContextExt) use both kinds. See the
/// guide: [contexts by hand](crate::guide::by_hand) and [the life of a
/// context](crate::guide::cancellation).
///
/// ```
/// use async_context_manager::prelude::*;
/// # use std::convert::Infallible;
///
/// struct Greeting {
///     name: &'static str,
/// }
///
/// impl AsyncContext for Greeting {
///     type Value = String;
///     type Error = Infallible;
///     type Verdict = ();
///
///     async fn enter(&mut self) -> Result<String, Infallible> {
///         Ok(format!("hello, {}", self.name))
///     }
///
///     async fn exit(self, _greeting: String, outcome: &Outcome) -> Result<(), Infallible> {
///         println!("goodbye, {} ({outcome:?})", self.name);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let length = Greeting { name: "Ada" }
///     .with(async |greeting| Ok(greeting.len()))
///     .await;
/// assert_eq!(length, Ok(10));
/// # }
/// ```
///
/// # What the implementer owes
///
/// An enter that fails or panics must clean up after itself, because exit runs only after an enter
/// that returned a value. If the failed enter opened contexts and gave them up, they exit before
/// the caller gets the error. Exit gets the value back, and must not assume that the body left the
/// value untouched.
///
/// # What the caller owes
///
/// [`AsyncContextExt`](crate::AsyncContextExt) keeps the protocol: enter once, exit once, whatever
/// happens in between. Code that calls `enter` and `exit` directly, for instance to build one
/// context out of another, must keep the protocol itself, and must run [`beside`](Self::beside)
/// between the two calls. A context that is entered but never exited is reported as
/// [`NotRun`](crate::report::Kind::NotRun) where that is possible.
///
/// # Cancel safety
///
/// This crate drops the future of enter or exit half-way in two cases only:
///
/// - The user asks for it, by [`cancellable!`](crate::cancellable),
///   [`cancellable_enter`](crate::AsyncContextExt::cancellable_enter),
///   [`with_scoped`](crate::AsyncContextExt::with_scoped), a time limit,
///   [`detached::force`](crate::detached::force), or a drop of the future of
///   [`Guard::exit_as`](crate::Guard::exit_as) after a body that failed.
/// - The runtime has shut down and left the future behind. The crate gives the future up after some
///   time, and reports it as [`Lost`](crate::report::Kind::Lost).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async context",
    label = "not an async context",
    note = "a future has to be awaited first: `.await` it to get at the context",
    note = "a context is a function under `#[async_context]`, or a type with `impl AsyncContext`",
    note = "a `Guard<C>` names the context, not its value: see `struct = Name`, and `BoxContext<Value, Error>`",
    note = "a guard that has only a `Drop` needs no context: keep it in a variable, or in a stack by `keep`"
)]
#[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
pub trait AsyncContext: Sized + Send {
    /// The value that the body borrows.
    type Value: Send;
    /// The error of enter, of exit, and of the body.
    type Error: fmt::Debug + Send + Sync + 'static;
    /// The decision of exit about a failed body: nothing (`()`), or a [`Suppression`].
    type Verdict: Verdict;

    /// Opens the resource. The crate calls this method once.
    ///
    /// ```
    /// use async_context_manager::{contexts::ready, prelude::*};
    ///
    /// struct Twice<C>(C);
    ///
    /// /// A context made of another: it calls the three methods of the inner context.
    /// impl<C: AsyncContext<Value = u32>> AsyncContext for Twice<C> {
    ///     type Value = u32;
    ///     type Error = C::Error;
    ///     type Verdict = C::Verdict;
    ///
    ///     async fn enter(&mut self) -> Result<u32, C::Error> {
    ///         Ok(self.0.enter().await? * 2)
    ///     }
    ///
    ///     async fn beside(&mut self) -> Result<(), C::Error> {
    ///         self.0.beside().await
    ///     }
    ///
    ///     async fn exit(self, value: u32, outcome: &Outcome) -> Result<C::Verdict, C::Error> {
    ///         self.0.exit(value, outcome).await
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let number = Twice(ready::<_, std::io::Error>(21)).with(async |number| Ok(*number)).await;
    /// assert_eq!(number.unwrap(), 42);
    /// # }
    /// ```
    fn enter(&mut self) -> impl Future<Output = Result<Self::Value, Self::Error>> + Send;

    /// Closes the resource. The crate calls this method once, after an enter that succeeded.
    ///
    /// ```
    /// use async_context_manager::prelude::*;
    ///
    /// struct Forgiving;
    ///
    /// impl AsyncContext for Forgiving {
    ///     type Value = ();
    ///     type Error = &'static str;
    ///     type Verdict = Suppression;
    ///
    ///     async fn enter(&mut self) -> Result<(), &'static str> {
    ///         Ok(())
    ///     }
    ///
    ///     async fn exit(self, _: (), outcome: &Outcome) -> Result<Suppression, &'static str> {
    ///         Ok(if outcome.is_failed() { Suppression::Suppress } else { Suppression::Propagate })
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(Forgiving.with(async |()| Err::<u32, _>("no")).await, Ok(None));
    /// assert_eq!(Forgiving.with(async |()| Ok(1)).await, Ok(Some(1)));
    /// # }
    /// ```
    fn exit(
        self,
        value: Self::Value,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<Self::Verdict, Self::Error>> + Send;

    /// Runs beside the body, and may end the body. For example, this method renews a lease, sends
    /// heartbeats, or watches for a signal. The crate calls this method once, after an enter that
    /// succeeded. A context with nothing to run beside its body omits this method.
    ///
    /// The future is polled from the end of enter to the beginning of exit, and is then dropped. In
    /// a `with`, the caller's task polls it together with the body. Under a guard, a task of its
    /// own does. See the guide: [what runs beside the body](crate::guide::beside).
    ///
    /// ```
    /// use async_context_manager::prelude::*;
    /// use std::{future::pending, time::Duration};
    /// use tokio::time::sleep;
    ///
    /// struct Limit(Duration);
    ///
    /// impl AsyncContext for Limit {
    ///     type Value = ();
    ///     type Error = &'static str;
    ///     type Verdict = ();
    ///
    ///     async fn enter(&mut self) -> Result<(), &'static str> {
    ///         Ok(())
    ///     }
    ///
    ///     async fn beside(&mut self) -> Result<(), &'static str> {
    ///         sleep(self.0).await;
    ///         Err("too late")
    ///     }
    ///
    ///     async fn exit(self, _: (), outcome: &Outcome) -> Result<(), &'static str> {
    ///         assert!(outcome.is_failed());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let limit = Limit(Duration::from_secs(1));
    /// let result = limit.with(async |()| pending::<Result<(), _>>().await).await;
    /// assert_eq!(result, Err("too late"));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// An error ends the body, as if the body had failed with it. `Ok(())` does not affect the
    /// body. Code that enters and exits a context by hand must call this method as well. If it does
    /// not, that is [reported](crate::report::Kind::BesideNotRun).
    ///
    /// # Panics
    ///
    /// A panic ends the body, as if the body had panicked.
    fn beside(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// `true` if the type has a [`__coroutine`](Self::__coroutine) of its own, which does more than
    /// call the three methods above.
    #[doc(hidden)]
    const __LENDS: bool = false;

    /// The name in reports.
    #[doc(hidden)]
    fn __name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Returns enter and exit as one future that pauses while the body runs. The crate uses it for
    /// a type that has a `__coroutine` of its own, for a context that borrows or is large, and for
    /// parts of other contexts.
    #[doc(hidden)]
    fn __coroutine(
        mut self,
        lender: Lender<Self::Value, Self::Error>,
    ) -> impl Future<Output = Result<Self::Verdict, Self::Error>> + Send {
        async move {
            let value = self.enter().await?;
            // In a future, so that a panic of the call itself also ends only the body.
            let beside = async { self.beside().await };
            let (value, outcome) = lender.yield_beside(value, beside).await;
            self.exit(value, outcome).await
        }
    }
}

/// What an exit decides about a failed body: `()` for a context that never suppresses, or
/// [`Suppression`] for a context that may. No other type implements this trait.
///
/// With the verdict `()`, the use of a context gives the body's result. With `Suppression`, it
/// gives an `Option`, because the result may be missing.
///
/// ```
/// use async_context_manager::{Suppression, Verdict};
///
/// fn is_plain(_: <() as Verdict>::Output<u32>) -> u32 { 0 }                       // a `u32`
/// fn may_be_missing(_: <Suppression as Verdict>::Output<u32>) -> Option<u32> { None } // an `Option<u32>`
/// assert_eq!(is_plain(1), 0);
/// assert_eq!(may_be_missing(Some(1)), None);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a verdict of an async context",
    label = "neither `()` nor `Suppression`",
    note = "an exit returns `Ok(())`; one that may suppress errors has the verdict `Suppression`"
)]
pub trait Verdict: sealed::Sealed + Send + 'static {
    /// The result of the use of the context, for a body's result `R`.
    type Output<R>;

    /// The verdict that changes nothing.
    #[doc(hidden)]
    const PROPAGATE: Self;

    #[doc(hidden)]
    fn completed<R>(value: R) -> Self::Output<R>;

    /// Returns the output for a suppressed body, or `None` if this verdict does not suppress.
    #[doc(hidden)]
    fn suppressed<R>(&self) -> Option<Self::Output<R>>;
}

/// The verdict of an exit that may suppress the body's error.
///
/// Only an error can be suppressed, never a panic or a cancellation.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// #[async_context(suppress)]
/// async fn forgiving() -> io::Result<()> {
///     let ((), outcome) = yield_!(());
///     Ok(if outcome.is_failed() { Suppression::Suppress } else { Suppression::Propagate })
/// }
///
/// let failed = forgiving().with(async |()| Err::<(), _>(io::ErrorKind::NotFound.into())).await?;
/// assert_eq!(failed, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Suppression {
    /// The body's error goes to the caller.
    #[default]
    Propagate,
    /// The body's error ends here: the caller gets `Ok(None)`.
    Suppress,
}

impl Verdict for () {
    type Output<R> = R;
    const PROPAGATE: Self = ();

    fn completed<R>(value: R) -> R {
        value
    }

    fn suppressed<R>(&self) -> Option<R> {
        None
    }
}

impl Verdict for Suppression {
    type Output<R> = Option<R>;
    const PROPAGATE: Self = Self::Propagate;

    fn completed<R>(value: R) -> Option<R> {
        Some(value)
    }

    fn suppressed<R>(&self) -> Option<Option<R>> {
        match self {
            Self::Propagate => None,
            Self::Suppress => Some(None),
        }
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "what can't be named can't be implemented")]
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for super::Suppression {}
}
