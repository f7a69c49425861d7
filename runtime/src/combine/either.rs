//! One context or another.

use crate::context::AsyncContext;
use crate::lender::Lender;
use crate::outcome::Outcome;

/// A context of one type or of another, with the same value, error and verdict.
///
/// Use it to choose at run time between two functions, whose contexts have different types. For
/// more than two functions, [`boxed`](crate::AsyncContextExt::boxed) gives all contexts the same
/// type. In Python, this is `async with (disk(path) if path else memory()) as store:`.
///
/// ```
/// use async_context_manager::{Either, prelude::*};
/// use std::io;
///
/// #[async_context]
/// async fn disk(path: &'static str) -> io::Result<Vec<u8>> {
///     let (bytes, _) = yield_!(path.as_bytes().to_vec());
///     println!("{} bytes to {path}", bytes.len());
///     Ok(())
/// }
///
/// #[async_context]
/// async fn memory() -> io::Result<Vec<u8>> {
///     let (_bytes, _) = yield_!(Vec::new());
///     Ok(())
/// }
///
/// async fn size(path: Option<&'static str>) -> io::Result<usize> {
///     let store = match path {
///         Some(path) => Either::Left(disk(path)),
///         None => Either::Right(memory()),
///     };
///     store.with(async |bytes| Ok(bytes.len())).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// assert_eq!(size(Some("log")).await?, 3);
/// assert_eq!(size(None).await?, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
pub enum Either<A, B> {
    /// The first choice.
    Left(A),
    /// The second choice.
    Right(B),
}

impl<A, B> AsyncContext for Either<A, B>
where
    A: AsyncContext,
    B: AsyncContext<Value = A::Value, Error = A::Error, Verdict = A::Verdict>,
{
    type Value = A::Value;
    type Error = A::Error;
    type Verdict = A::Verdict;
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<A::Value, A::Error> {
        match self {
            Self::Left(context) => context.enter().await,
            Self::Right(context) => context.enter().await,
        }
    }

    async fn beside(&mut self) -> Result<(), A::Error> {
        match self {
            Self::Left(context) => context.beside().await,
            Self::Right(context) => context.beside().await,
        }
    }

    async fn exit(self, value: A::Value, outcome: &Outcome) -> Result<A::Verdict, A::Error> {
        match self {
            Self::Left(context) => context.exit(value, outcome).await,
            Self::Right(context) => context.exit(value, outcome).await,
        }
    }

    fn __name(&self) -> &'static str {
        match self {
            Self::Left(context) => context.__name(),
            Self::Right(context) => context.__name(),
        }
    }

    async fn __coroutine(self, lender: Lender<A::Value, A::Error>) -> Result<A::Verdict, A::Error> {
        match self {
            Self::Left(context) => context.__coroutine(lender).await,
            Self::Right(context) => context.__coroutine(lender).await,
        }
    }
}
