//! A context that may be absent.

use std::task::Poll;

use crate::combine::relay::{Relay, relay};
use crate::context::{AsyncContext, Verdict};
use crate::lender::Lender;
use crate::outcome::Outcome;
use crate::report::{self, Kind};

/// `Some` enters its context, and lends the context's value as a `Some`. `None` lends `None`, and
/// has nothing to open or to close. In Python, this is
/// `ctx if wanted else contextlib.nullcontext()`.
///
/// ```
/// use async_context_manager::prelude::*;
/// use std::io;
///
/// #[async_context]
/// async fn metrics(path: String) -> io::Result<Vec<String>> {
///     let (lines, _) = yield_!(Vec::new());
///     println!("{} lines to {path}", lines.len());
///     Ok(())
/// }
///
/// async fn work(metrics_path: Option<String>) -> io::Result<u32> {
///     metrics_path
///         .map(metrics)
///         .with(async |lines| {
///             if let Some(lines) = lines {
///                 lines.push("worked".to_owned());
///             }
///             Ok(42)
///         })
///         .await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// assert_eq!(work(None).await?, 42);
/// assert_eq!(work(Some("metrics.txt".to_owned())).await?, 42);
/// # Ok(())
/// # }
/// ```
///
/// If the body takes the value out of the `Option`, the exit cannot run, and that is
/// [reported](crate::report::Kind::NotRun).
impl<C: AsyncContext> AsyncContext for Option<C> {
    type Value = Option<C::Value>;
    type Error = C::Error;
    type Verdict = C::Verdict;
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<Option<C::Value>, C::Error> {
        match self {
            Some(context) => context.enter().await.map(Some),
            None => Ok(None),
        }
    }

    async fn beside(&mut self) -> Result<(), C::Error> {
        match self {
            Some(context) => context.beside().await,
            None => Ok(()),
        }
    }

    async fn exit(
        self,
        value: Option<C::Value>,
        outcome: &Outcome,
    ) -> Result<C::Verdict, C::Error> {
        match (self, value) {
            (Some(context), Some(value)) => context.exit(value, outcome).await,
            (Some(context), None) => {
                report::plain(context.__name(), Kind::NotRun);
                Ok(C::Verdict::PROPAGATE)
            }
            (None, _) => Ok(C::Verdict::PROPAGATE),
        }
    }

    fn __name(&self) -> &'static str {
        match self {
            Some(context) => context.__name(),
            None => std::any::type_name::<Self>(),
        }
    }

    async fn __coroutine(
        self,
        lender: Lender<Option<C::Value>, C::Error>,
    ) -> Result<C::Verdict, C::Error> {
        if let Some(context) = self {
            let parts = Relay {
                there: Some,
                back: |value| value,
                error: |error| error,
            };
            relay(&lender, context, parts, |_| Poll::Ready(Ok(()))).await
        } else {
            lender.yield_(None).await;
            Ok(C::Verdict::PROPAGATE)
        }
    }
}
