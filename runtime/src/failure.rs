//! All that can go wrong in one use of a context, with its origin.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::report::{self, Kind};

/// What went wrong in a [`try_with`](crate::AsyncContextExt::try_with): each error, where it came
/// from, and the body's value where it is the exit that failed.
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
    /// Enter failed. There was no body, and no exit.
    Enter(E),
    /// The body failed, and exit went well.
    Body(E),
    /// Exit failed, after a body that gave `value`.
    Exit {
        /// What the body returned.
        value: R,
        /// The exit's error.
        error: E,
    },
    /// Both failed.
    BodyAndExit {
        /// The body's error: the primary one.
        body: E,
        /// The exit's error.
        exit: E,
    },
}

impl<R, E> Failure<R, E> {
    /// The error that [`with`](crate::AsyncContextExt::with) returns: the body's where there is
    /// one, else the only one. The rest is dropped.
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
    /// The primary error; a second one is reported.
    pub(crate) fn into_primary_reporting(self, context: &'static str) -> E {
        match self {
            Self::BodyAndExit { body, exit } => {
                report::error(context, Kind::ExitFailed, Arc::new(exit));
                body
            }
            other => other.into_primary(),
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
    /// The primary error.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Enter(error)
            | Self::Body(error)
            | Self::Exit { error, .. }
            | Self::BodyAndExit { body: error, .. } => Some(error),
        }
    }
}
