//! Errors that end here.

use std::error::Error;
use std::fmt;

use crate::context::{AsyncContext, Suppression};
use crate::generator::generator;
use crate::outcome::BodyError;

/// A context that suppresses a body's error of type `T`: Python's `contextlib.suppress(T)`.
///
/// It also suppresses a `T` inside a `Box<dyn Error + Send + Sync>` or, with the feature `anyhow`,
/// inside an `anyhow::Error`. For bodies that fail with such a box, see
/// [`err_into`](crate::AsyncContextExt::err_into). For several types, or for some errors of one
/// type, use [`suppress_if`].
///
/// ```
/// use async_context_manager::{contexts::suppress, prelude::*};
/// use std::{error::Error, num::ParseIntError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
/// let number = suppress::<ParseIntError>()
///     .with(async |()| "seven".parse::<u8>())
///     .await?;
/// assert_eq!(number, None);
///
/// let number = suppress::<ParseIntError>()
///     .err_into::<Box<dyn Error + Send + Sync>>()
///     .with(async |()| {
///         let text = std::str::from_utf8(b"7")?;
///         Ok(text.parse::<u8>()?)
///     })
///     .await?;
/// assert_eq!(number, Some(7));
/// # Ok(())
/// # }
/// ```
pub fn suppress<T>() -> impl AsyncContext<Value = (), Error = T, Verdict = Suppression>
where
    T: Error + Send + Sync + 'static,
{
    suppressing("async_context_manager::suppress", BodyError::is::<T>)
}

/// A context that suppresses a body's error if the function returns `true`: an `except` with a
/// condition.
///
/// ```
/// use async_context_manager::{contexts::suppress_if, prelude::*};
/// use std::io::{Error, ErrorKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let text = suppress_if(|error: &Error| error.kind() == ErrorKind::NotFound)
///     .with(async |()| tokio::fs::read_to_string("no such file").await)
///     .await?;
/// assert_eq!(text, None);
/// # Ok(())
/// # }
/// ```
///
/// An error may hold several types, and the function may suppress any of them:
///
/// ```
/// use async_context_manager::{contexts::suppress_if, prelude::*};
/// use std::{error::Error, num::{ParseFloatError, ParseIntError}};
///
/// type AnyError = Box<dyn Error + Send + Sync>;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), AnyError> {
/// let sum = suppress_if(|error: &AnyError| error.is::<ParseIntError>() || error.is::<ParseFloatError>())
///     .with(async |()| Ok("1".parse::<f64>()? + f64::from("one".parse::<u8>()?)))
///     .await?;
/// assert_eq!(sum, None);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// If the function panics. That panic counts as a panic of exit.
pub fn suppress_if<E, P>(
    is_suppressed: P,
) -> impl AsyncContext<Value = (), Error = E, Verdict = Suppression>
where
    E: fmt::Debug + Send + Sync + 'static,
    P: FnOnce(&E) -> bool + Send,
{
    suppressing("async_context_manager::suppress_if", |error: &BodyError| {
        error.as_any().downcast_ref().is_some_and(is_suppressed)
    })
}

fn suppressing<E, P>(
    name: &'static str,
    is_suppressed: P,
) -> impl AsyncContext<Value = (), Error = E, Verdict = Suppression>
where
    E: fmt::Debug + Send + Sync + 'static,
    P: FnOnce(&BodyError) -> bool + Send,
{
    generator(name, async move |lender| -> Result<Suppression, E> {
        let ((), outcome) = lender.yield_(()).await;
        Ok(match outcome.error() {
            Some(error) if is_suppressed(error) => Suppression::Suppress,
            _ => Suppression::Propagate,
        })
    })
}
