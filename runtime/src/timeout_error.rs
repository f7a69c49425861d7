//! The error of a context with a time limit.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The error of a context with a time limit. See
/// [`enter_timeout`](crate::AsyncContextExt::enter_timeout),
/// [`body_timeout`](crate::AsyncContextExt::body_timeout) and
/// [`exit_timeout`](crate::AsyncContextExt::exit_timeout).
///
/// `From<E>` makes `?` work in the body. Two limits give a `TimeoutError<TimeoutError<E>>`;
/// [`err_into::<TimeoutError<E>>()`](crate::AsyncContextExt::err_into) turns that into a plain
/// `TimeoutError<E>`.
///
/// ```
/// use async_context_manager::{Phase, TimeoutError, prelude::*};
/// use std::{future::pending, io, time::Duration};
///
/// #[async_context]
/// async fn slow() -> io::Result<()> {
///     cancellable!(pending::<()>()).await;
///     let ((), _) = yield_!(());
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let limit = Duration::from_secs(1);
/// let result = slow().enter_timeout(limit).with(async |()| Ok(())).await;
/// match result.unwrap_err() {
///     TimeoutError::Elapsed { phase, after } => assert_eq!((phase, after), (Phase::Enter, limit)),
///     TimeoutError::Context(error) => panic!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutError<E> {
    /// The time limit was exceeded.
    Elapsed {
        /// The part that took too long.
        phase: Phase,
        /// The limit.
        after: Duration,
    },
    /// The context's own error, or the body's.
    Context(E),
}

/// The part of the use of a context that a time limit is for.
///
/// ```
/// use async_context_manager::Phase;
///
/// assert_eq!(Phase::Exit.to_string(), "exit");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Enter.
    Enter,
    /// The body.
    Body,
    /// Exit.
    Exit,
}

impl<E> TimeoutError<E> {
    /// Returns `true` if this is [`TimeoutError::Elapsed`].
    ///
    /// ```
    /// use async_context_manager::TimeoutError;
    ///
    /// assert!(!TimeoutError::Context("the context's own error").is_elapsed());
    /// ```
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        matches!(self, Self::Elapsed { .. })
    }
}

impl<E> From<E> for TimeoutError<E> {
    fn from(error: E) -> Self {
        Self::Context(error)
    }
}

impl<E> From<TimeoutError<TimeoutError<E>>> for TimeoutError<E> {
    fn from(error: TimeoutError<TimeoutError<E>>) -> Self {
        match error {
            TimeoutError::Elapsed { phase, after } => Self::Elapsed { phase, after },
            TimeoutError::Context(error) => error,
        }
    }
}

impl<E: fmt::Display> fmt::Display for TimeoutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elapsed { phase, after } => write!(f, "{phase} was not over after {after:?}"),
            Self::Context(error) => error.fmt(f),
        }
    }
}

impl<E: Error> Error for TimeoutError<E> {
    /// Returns the source of the context's error, because `Display` already shows that error
    /// itself.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Elapsed { .. } => None,
            Self::Context(error) => error.source(),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enter => "enter",
            Self::Body => "the body",
            Self::Exit => "exit",
        })
    }
}
