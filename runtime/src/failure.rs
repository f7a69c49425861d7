//! All that can go wrong in one use of a context, or of a stack, with its origin.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::report::{self, Failing, Kind, drop_quietly};

/// What went wrong in a [`try_with`](crate::AsyncContextExt::try_with): each error, its origin, and
/// the body's value if only the exit failed.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # async fn example(file: impl AsyncContext<Value = Vec<u8>, Error = io::Error, Verdict = ()> + 'static) {
/// match file.try_with(async |bytes| Ok(bytes.len())).await {
///     Ok(length) => println!("{length} bytes"),
///     Err(Failure::Exit { value, error }) => println!("{value} bytes, not on disk yet: {error}"),
///     Err(failure) => println!("{failure}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure<R, E> {
    /// Enter failed. No body and no exit has run.
    Enter(E),
    /// The body failed, and exit went well.
    Body(E),
    /// Exit failed, after a body that returned `value`.
    Exit {
        /// The value that the body returned.
        value: R,
        /// The exit's error.
        error: E,
    },
    /// The body and then exit failed.
    BodyAndExit {
        /// The body's error: the primary one.
        body: E,
        /// The exit's error.
        exit: E,
    },
}

impl<R, E> Failure<R, E> {
    /// Returns the error that [`with`](crate::AsyncContextExt::with) returns: the body's error if
    /// the body failed, or else the only error. A second error drops.
    ///
    /// ```
    /// use async_context_manager::Failure;
    ///
    /// let both = Failure::<(), _>::BodyAndExit { body: "no such user", exit: "disk full" };
    /// assert_eq!(both.into_primary(), "no such user");
    /// ```
    pub fn into_primary(self) -> E {
        match self {
            Self::Enter(error)
            | Self::Body(error)
            | Self::Exit { error, .. }
            | Self::BodyAndExit { body: error, .. } => error,
        }
    }
}

impl<R, E: fmt::Debug + Send + Sync + 'static> Failure<R, E> {
    /// Turns the result of `try_with` into that of [`with`](crate::AsyncContextExt::with). A second
    /// error is reported.
    pub(crate) fn reporting<T>(failing: Failing, result: Result<T, Self>) -> Result<T, E> {
        result.map_err(|failure| failure.into_primary_reporting(failing))
    }

    /// Returns the primary error, and reports a second error.
    fn into_primary_reporting(self, failing: Failing) -> E {
        match self {
            Self::BodyAndExit { body, exit } => {
                failing.report(Arc::new(exit));
                body
            }
            Self::Exit { value, error } => {
                drop_quietly(failing.context, value);
                error
            }
            Self::Enter(error) | Self::Body(error) => error,
        }
    }
}

impl<R, E: fmt::Display> fmt::Display for Failure<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enter(error) => write!(f, "enter failed: {error}"),
            Self::Body(error) => write!(f, "the body failed: {error}"),
            Self::Exit { error, .. } => write!(f, "exit failed: {error}"),
            Self::BodyAndExit { body, exit } => {
                write!(f, "the body failed: {body}; and then exit failed: {exit}")
            }
        }
    }
}

impl<R: fmt::Debug, E: Error + 'static> Error for Failure<R, E> {
    /// Returns the primary error.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Enter(error)
            | Self::Body(error)
            | Self::Exit { error, .. }
            | Self::BodyAndExit { body: error, .. } => Some(error),
        }
    }
}

/// What went wrong in a [`try_exit`](crate::ExitStack::try_exit): the body's error, and those of
/// all exits that failed. If an exit has suppressed an error, only the exits after that one count:
/// earlier errors are [reported](crate::report).
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let stack = ExitStack::new();
/// stack.defer(async |_| Err("the first"));
/// stack.defer(async |_| Err("the second"));
/// let failure = stack.try_exit(Err::<(), _>("the body")).await.unwrap_err();
/// assert_eq!(failure.body, Some("the body"));
/// let exits: Vec<_> = failure.exits.iter().map(|exit| exit.error).collect();
/// assert_eq!(exits, ["the second", "the first"]); // as they ran
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackFailure<R, E> {
    /// The body's value, if the body returned `Ok`. `None` if an error of the body or of an inner
    /// exit was suppressed.
    pub value: Option<R>,
    /// The body's error. If there is one, it is the primary error.
    pub body: Option<E>,
    /// The exits that failed, in the order in which they ran.
    pub exits: Vec<FailedExit<E>>,
}

/// An exit of a stack that failed.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let stack = ExitStack::new();
/// stack.defer(async |_| Err("the first"));
/// stack.defer(async |_| Err("the second"));
/// let failure = stack.try_exit(Err::<(), _>("the body")).await.unwrap_err();
/// let exit = &failure.exits[0];
/// assert_eq!(exit.error, "the second");
/// assert!(!exit.context.is_empty()); // the name of its function, or of its context
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedExit<E> {
    /// The context's name.
    pub context: &'static str,
    /// The exit's error.
    pub error: E,
    /// The kind of its report, if nobody gets the error.
    pub(crate) kind: Kind,
}

impl<R, E> StackFailure<R, E> {
    /// The caller must pass a body's error, or at least one exit that failed.
    pub(crate) fn new(value: Option<R>, body: Option<E>, exits: Vec<FailedExit<E>>) -> Self {
        Self { value, body, exits }
    }

    /// Returns all errors: the body's, if the body failed, and then those of the exits, in the
    /// order in which they ran.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let stack = ExitStack::new();
    /// stack.defer(async |_| Err("the first"));
    /// stack.defer(async |_| Err("the second"));
    /// let failure = stack.try_exit(Err::<(), _>("the body")).await.unwrap_err();
    /// let errors: Vec<_> = failure.errors().copied().collect();
    /// assert_eq!(errors, ["the body", "the second", "the first"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn errors(&self) -> impl Iterator<Item = &E> {
        let exits = self.exits.iter().map(|exit| &exit.error);
        self.body.iter().chain(exits)
    }
}

impl<R, E: fmt::Debug + Send + Sync + 'static> StackFailure<R, E> {
    /// Returns the primary error: the body's, else that of the first exit. Reports the others.
    pub(crate) fn into_primary_reporting(self, context: &'static str) -> E {
        drop_quietly(context, self.value);
        let mut exits = self.exits.into_iter();
        let primary = self.body.or_else(|| exits.next().map(|exit| exit.error));
        for exit in exits {
            report::error(exit.context, exit.kind, Arc::new(exit.error));
        }
        primary.expect("a failure has an error")
    }
}

impl<R, E: fmt::Display> fmt::Display for StackFailure<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(error) = &self.body {
            write!(f, "the body failed: {error}")?;
            separator = "; and then ";
        }
        for FailedExit { context, error, .. } in &self.exits {
            write!(f, "{separator}the exit of `{context}` failed: {error}")?;
            separator = "; and then ";
        }
        Ok(())
    }
}

impl<R: fmt::Debug, E: Error + 'static> Error for StackFailure<R, E> {
    /// Returns the primary error.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.errors().next().map(|error| error as _)
    }
}
