//! How a body ended, as the exit of its context sees it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::carry::CarryError;
use crate::timeout_error::TimeoutError;

/// How the body of a context ended.
///
/// Exit receives the outcome by reference, and can decide by the outcome whether to commit or to
/// roll back.
///
/// ```
/// use async_context_manager::Outcome;
///
/// fn verb(outcome: &Outcome) -> &'static str {
///     match outcome {
///         Outcome::Completed => "COMMIT",
///         _ => "ROLLBACK",
///     }
/// }
/// assert_eq!(verb(&Outcome::Completed), "COMMIT");
/// assert_eq!(verb(&Outcome::Cancelled), "ROLLBACK");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The body returned `Ok`.
    Completed,
    /// The body failed with this error, or the future [beside](crate::guide::beside) the body ended
    /// the body with it. The error still goes to the caller, unless exit suppresses it.
    Failed(BodyError),
    /// The body panicked. The panic goes on after all exits have run.
    Panicked(BodyPanic),
    /// The caller gave up: a timeout, a `select!`, an aborted task, a guard that was dropped.
    Cancelled,
}

impl Outcome {
    /// Returns `true` if this is [`Outcome::Completed`].
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let context = defer(async |outcome: &Outcome| {
    ///     assert!(outcome.is_completed());
    ///     Ok(())
    /// });
    /// let _: Result<(), &str> = context.with(async |()| Ok(())).await;
    /// # }
    /// ```
    #[must_use]
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed)
    }

    /// Returns `true` if this is [`Outcome::Failed`].
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let context = defer(async |outcome: &Outcome| {
    ///     assert!(outcome.is_failed());
    ///     Ok(())
    /// });
    /// let _: Result<(), &str> = context.with(async |()| Err::<(), _>("no")).await;
    /// # }
    /// ```
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// Returns `true` if this is [`Outcome::Panicked`].
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # std::panic::set_hook(Box::new(|_| {}));
    /// let task = tokio::spawn(
    ///     defer(async |outcome: &Outcome| {
    ///         assert!(outcome.is_panicked());
    ///         Ok(())
    ///     })
    ///     .with(async |()| -> Result<(), &str> { panic!("a bug") }),
    /// );
    /// assert!(task.await.unwrap_err().is_panic()); // it goes on, after exit
    /// # }
    /// ```
    #[must_use]
    pub fn is_panicked(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Returns `true` if this is [`Outcome::Cancelled`].
    ///
    /// ```
    /// use async_context_manager::{contexts::defer, detached, prelude::*, Outcome};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let guard = defer(async |outcome: &Outcome| {
    ///     assert!(outcome.is_cancelled());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// .guard()
    /// .await
    /// .unwrap();
    /// drop(guard);
    /// detached::drain().await;
    /// # }
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// Returns the body's error, if the body failed.
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let context = defer(async |outcome: &Outcome| {
    ///     assert_eq!(format!("{:?}", outcome.error().unwrap()), "\"no\"");
    ///     Ok(())
    /// });
    /// let _: Result<(), &str> = context.with(async |()| Err::<(), _>("no")).await;
    /// # }
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<&BodyError> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Completed | Self::Panicked(_) | Self::Cancelled => None,
        }
    }

    /// Returns the body's panic, if the body panicked.
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # std::panic::set_hook(Box::new(|_| {}));
    /// let task = tokio::spawn(
    ///     defer(async |outcome: &Outcome| {
    ///         assert_eq!(outcome.panic().unwrap().message(), "a bug");
    ///         Ok(())
    ///     })
    ///     .with(async |()| -> Result<(), &str> { panic!("a bug") }),
    /// );
    /// assert!(task.await.unwrap_err().is_panic()); // it goes on, after exit
    /// # }
    /// ```
    #[must_use]
    pub fn panic(&self) -> Option<&BodyPanic> {
        match self {
            Self::Panicked(panic) => Some(panic),
            Self::Completed | Self::Failed(_) | Self::Cancelled => None,
        }
    }

    /// Returns the outcome of a body that failed with this error: for tests of an exit.
    ///
    /// ```
    /// use async_context_manager::Outcome;
    /// use std::io;
    ///
    /// fn last_words(outcome: &Outcome) -> &'static str {
    ///     if outcome.is_completed() { "COMMIT" } else { "ROLLBACK" }
    /// }
    /// let failed = Outcome::failed(io::Error::other("no such table"));
    /// assert_eq!(last_words(&failed), "ROLLBACK");
    /// assert!(failed.error().unwrap().is::<io::Error>());
    /// ```
    #[must_use]
    pub fn failed<E: fmt::Debug + Send + Sync + 'static>(error: E) -> Self {
        Self::Failed(BodyError::new(Arc::new(error)))
    }

    /// Returns the outcome of a body that panicked with this message: for tests of an exit.
    ///
    /// ```
    /// use async_context_manager::Outcome;
    ///
    /// let panicked = Outcome::panicked("a bug");
    /// assert_eq!(panicked.panic().unwrap().message(), "a bug");
    /// ```
    #[must_use]
    pub fn panicked(message: &str) -> Self {
        Self::Panicked(BodyPanic::new(&message.to_owned()))
    }

    /// The outcome of a completed body, for code that needs a reference and keeps no outcome
    /// itself.
    pub(crate) const COMPLETED: &'static Self = &Self::Completed;

    /// Returns this outcome. Marks an error in it as the error of the future beside the body.
    pub(crate) fn marked_from_beside(self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(BodyError(Arc::new(FromBeside(error.0)))),
            outcome @ (Self::Completed | Self::Panicked(_) | Self::Cancelled) => outcome,
        }
    }

    /// Returns a second handle to this outcome, for a context that is driven inside another one.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Completed => Self::Completed,
            Self::Failed(error) => Self::Failed(error.share()),
            Self::Panicked(panic) => Self::Panicked(panic.clone()),
            Self::Cancelled => Self::Cancelled,
        }
    }
}

/// An error whose type the holder does not know: the error of a body, in its [`Outcome`], or the
/// error in a [`Report`](crate::report::Report).
///
/// [`is`](Self::is) and [`downcast_ref`](Self::downcast_ref) look at the error itself. They also
/// look inside a [`TimeoutError`], a [`CarryError`], a `Box<dyn Error + Send + Sync>` and, with the
/// feature `anyhow`, an `anyhow::Error`. For a type that is not an [`Error`], such as a `String`,
/// use [`as_any`](Self::as_any).
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// fn is_worth_a_retry(outcome: &Outcome) -> bool {
///     outcome
///         .error()
///         .and_then(|error| error.downcast_ref::<io::Error>())
///         .is_some_and(|error| error.kind() == io::ErrorKind::Interrupted)
/// }
/// assert!(!is_worth_a_retry(&Outcome::Completed));
/// ```
pub struct BodyError(Arc<dyn AnyError>);

impl BodyError {
    pub(crate) fn new<E: fmt::Debug + Send + Sync + 'static>(error: Arc<E>) -> Self {
        Self(error)
    }

    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Returns `true` if a future [beside](crate::guide::beside) the body ended the body with this
    /// error. The body itself has not failed then.
    ///
    /// Such a future is the second argument of [`yield_!`](crate::yield_), or
    /// [`AsyncContext::beside`](crate::AsyncContext::beside). It may belong to this context, to a
    /// part of this context, or to another context around the same body.
    ///
    /// ```
    /// use async_context_manager::prelude::*;
    /// use std::future::pending;
    ///
    /// #[async_context]
    /// async fn hasty() -> Result<(), &'static str> {
    ///     let ((), outcome) = yield_!((), async { Err("no time") });
    ///     assert!(outcome.error().unwrap().is_from_beside());
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let result = hasty().with(async |()| pending::<Result<(), _>>().await).await;
    /// assert_eq!(result, Err("no time"));
    /// # }
    /// ```
    #[must_use]
    pub fn is_from_beside(&self) -> bool {
        (*self.0).is_from_beside()
    }

    /// Returns the error itself. The caller must know the type of the error.
    pub(crate) fn into_shared<E: Send + Sync + 'static>(self) -> Arc<E> {
        let error = self.0.into_any().downcast();
        error.expect("an error from beside has the error type of its context")
    }

    /// Returns the error itself, without its `Arc`. The caller must know the type of the error, and
    /// have the only handle to it.
    pub(crate) fn into_error<E: Send + Sync + 'static>(self) -> E {
        let error = Arc::into_inner(self.into_shared());
        error.expect("what has not ended a body yet was shown to nobody")
    }

    /// Returns the name of the error's type, as [`std::any::type_name`] gives it.
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let context = defer(async |outcome: &Outcome| {
    ///     assert_eq!(outcome.error().unwrap().type_name(), "&str");
    ///     Ok(())
    /// });
    /// let _: Result<(), &str> = context.with(async |()| Err::<(), _>("no")).await;
    /// # }
    /// ```
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        (*self.0).type_name()
    }

    /// Returns `true` if the error, or the error inside its box, is a `T`.
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::io::{Error, ErrorKind};
    ///
    /// let context = defer(async |outcome: &Outcome| {
    ///     let error = outcome.error().unwrap();
    ///     assert!(error.is::<Error>() && !error.is::<std::fmt::Error>());
    ///     Ok(())
    /// });
    /// let result = context.with(async |()| Err::<(), _>(Error::from(ErrorKind::NotFound))).await;
    /// assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound); // it still goes to the caller
    /// # }
    /// ```
    #[must_use]
    pub fn is<T: Error + Send + Sync + 'static>(&self) -> bool {
        self.downcast_ref::<T>().is_some()
    }

    /// Returns the error, or the error inside its box, if it is a `T`.
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::io::{Error, ErrorKind};
    ///
    /// let context = defer(async |outcome: &Outcome| {
    ///     let error = outcome.error().unwrap();
    ///     assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::NotFound);
    ///     Ok(())
    /// });
    /// let result = context.with(async |()| Err::<(), _>(Error::from(ErrorKind::NotFound))).await;
    /// assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound); // it still goes to the caller
    /// # }
    /// ```
    #[must_use]
    pub fn downcast_ref<T: Error + Send + Sync + 'static>(&self) -> Option<&T> {
        let error = self.as_any();
        if let Some(error) = error.downcast_ref::<T>() {
            return Some(error);
        }
        if let Some(TimeoutError::Context(error)) = error.downcast_ref::<TimeoutError<T>>() {
            return Some(error);
        }
        if let Some(CarryError::Context(error)) = error.downcast_ref::<CarryError<T>>() {
            return Some(error);
        }
        if let Some(boxed) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
            return boxed.downcast_ref::<T>();
        }
        #[cfg(feature = "anyhow")]
        if let Some(error) = error.downcast_ref::<anyhow::Error>() {
            return error.downcast_ref::<T>();
        }
        None
    }

    /// Returns the error as the body returned it: for types that are not an [`Error`].
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let context = defer(async |outcome: &Outcome| {
    ///     assert_eq!(outcome.error().unwrap().as_any().downcast_ref::<&str>(), Some(&"no"));
    ///     Ok(())
    /// });
    /// let _: Result<(), &str> = context.with(async |()| Err::<(), _>("no")).await;
    /// # }
    /// ```
    #[must_use]
    pub fn as_any(&self) -> &(dyn Any + Send + Sync) {
        // Not `self.0.as_any()`, because this must be the method of the error, and never a method
        // of the `Arc`.
        (*self.0).as_any()
    }
}

impl fmt::Debug for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self.0).debug(f)
    }
}

/// The object-safe part of an error that a [`BodyError`] needs.
trait AnyError: Send + Sync {
    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    fn type_name(&self) -> &'static str;
    fn as_any(&self) -> &(dyn Any + Send + Sync);
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;

    fn is_from_beside(&self) -> bool {
        false
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> AnyError for E {
    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<E>()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The error of the future beside the body, if that future ended the body. The type must not have a
/// `Debug`: the implementation above would then cover this type too, and conflict with the one
/// below.
struct FromBeside(Arc<dyn AnyError>);

impl AnyError for FromBeside {
    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self.0).debug(f)
    }

    fn type_name(&self) -> &'static str {
        (*self.0).type_name()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        (*self.0).as_any()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.0).into_any()
    }

    fn is_from_beside(&self) -> bool {
        true
    }
}

/// A panic without its payload. The crate keeps the payload, and resumes the panic with it.
///
/// ```
/// # use async_context_manager::{contexts::defer, prelude::*};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # std::panic::set_hook(Box::new(|_| {}));
/// let task = tokio::spawn(
///     defer(async |outcome: &Outcome| {
///         assert_eq!(format!("{:?}", outcome.panic().unwrap()), r#"BodyPanic("a bug")"#);
///         Ok(())
///     })
///     .with(async |()| -> Result<(), &str> { panic!("a bug") }),
/// );
/// assert!(task.await.unwrap_err().is_panic()); // it goes on, after exit
/// # }
/// ```
#[derive(Clone)]
pub struct BodyPanic(Arc<str>);

impl BodyPanic {
    pub(crate) fn new(payload: &(dyn Any + Send)) -> Self {
        let message = if let Some(message) = payload.downcast_ref::<&'static str>() {
            message
        } else if let Some(message) = payload.downcast_ref::<String>() {
            message.as_str()
        } else {
            "Box<dyn Any>"
        };
        Self(Arc::from(message))
    }

    /// Returns the panic's message. If the payload is not a string, returns `Box<dyn Any>`, as the
    /// standard library prints it.
    ///
    /// ```
    /// # use async_context_manager::{contexts::defer, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # std::panic::set_hook(Box::new(|_| {}));
    /// let task = tokio::spawn(
    ///     defer(async |outcome: &Outcome| {
    ///         assert_eq!(outcome.panic().unwrap().message(), "a bug");
    ///         Ok(())
    ///     })
    ///     .with(async |()| -> Result<(), &str> { panic!("a bug") }),
    /// );
    /// assert!(task.await.unwrap_err().is_panic()); // it goes on, after exit
    /// # }
    /// ```
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BodyPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BodyPanic").field(&self.message()).finish()
    }
}
