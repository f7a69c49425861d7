//! A value as a context.

use std::fmt;

use crate::context::AsyncContext;
use crate::generator::generator;

/// A context that lends this value, with nothing to open or close: Python's
/// `contextlib.nullcontext(value)`.
///
/// Use it for code that expects a context when nothing must be closed.
///
/// ```
/// use async_context_manager::{contexts::ready, prelude::*, Either};
/// use std::io;
///
/// #[async_context]
/// async fn create(path: &'static str) -> io::Result<String> {
///     let (text, _) = yield_!(String::new());
///     println!("{path}: {text}");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// for path in [None, Some("report.txt")] {
///     let output = match path {
///         Some(path) => Either::Left(create(path)),
///         None => Either::Right(ready("to nowhere: ".to_owned())),
///     };
///     let length = output
///         .with(async |text| {
///             text.push_str("all is well");
///             Ok(text.len())
///         })
///         .await?;
///     assert!(length >= 11);
/// }
/// # Ok(())
/// # }
/// ```
pub fn ready<V, E>(value: V) -> impl AsyncContext<Value = V, Error = E, Verdict = ()>
where
    V: Send,
    E: fmt::Debug + Send + Sync + 'static,
{
    let name = "async_context_manager::ready";
    generator(name, async move |lender| -> Result<(), E> {
        lender.yield_(value).await;
        Ok(())
    })
}
