//! Nested contexts, written without nesting.

/// Enters contexts one after the other, runs the block inside all of them, and exits them in
/// reverse: Python's `async with database(url) as pool, transaction(pool) as tx:`.
///
/// Each name is a `&mut` to its context's value. The block and the contexts after it can use that
/// value. A name can also be a pattern: `_`, or `(pool, listener)` for a [`join`](crate::join) of
/// two contexts. The macro awaits nested calls of [`with`](crate::AsyncContextExt::with), so it
/// belongs in `async` code. The block must give a `Result`. A `?` or `return` in the block ends
/// only the block, not the function around it.
///
/// ```
/// use async_context_manager::{async_with, prelude::*};
/// use std::io;
///
/// #[async_context]
/// async fn database(url: &'static str) -> io::Result<Vec<String>> {
///     let (_, _) = yield_!(vec![url.to_owned()]);
///     Ok(())
/// }
///
/// #[async_context]
/// async fn transaction(tables: usize) -> io::Result<String> {
///     let (log, outcome) = yield_!(format!("{tables} table"));
///     println!("{log}: {outcome:?}");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let log = async_with!(pool = database("sqlite::memory:"), tx = transaction(pool.len()) => {
///     tx.push_str(", changed");
///     Ok(tx.clone())
/// })?;
/// assert_eq!(log, "1 table, changed");
/// # Ok(())
/// # }
/// ```
///
/// All contexts must have the error type of the block;
/// [`err_into`](crate::AsyncContextExt::err_into) converts errors. Each context that may suppress
/// errors wraps the result in an `Option`. If the block is not `Send`, use
/// [`async_with_local!`](crate::async_with_local).
#[macro_export]
macro_rules! async_with {
    ($value:pat_param = $context:expr $(,)? => $body:expr $(,)?) => {
        $crate::AsyncContextExt::with($context, async |$value| $body).await
    };
    ($value:pat_param = $context:expr, $($rest:tt)+) => {
        $crate::AsyncContextExt::with(
            $context,
            async |$value| $crate::async_with!($($rest)+),
        )
        .await
    };
}

/// As [`async_with!`](crate::async_with), for a block that is not `Send`: this macro awaits nested
/// calls of [`with_local`](crate::AsyncContextExt::with_local).
///
/// ```
/// use async_context_manager::{async_with_local, prelude::*};
/// use std::{io, rc::Rc};
///
/// #[async_context]
/// async fn name(name: &'static str) -> io::Result<&'static str> {
///     let (_, _) = yield_!(name);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let title = Rc::new("Countess of");
/// let full = async_with_local!(first = name("Ada"), last = name("Lovelace") => {
///     tokio::task::yield_now().await;
///     Ok(format!("{first}, {title} {last}"))
/// })?;
/// assert_eq!(full, "Ada, Countess of Lovelace");
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! async_with_local {
    ($value:pat_param = $context:expr $(,)? => $body:expr $(,)?) => {
        $crate::AsyncContextExt::with_local($context, async |$value| $body).await
    };
    ($value:pat_param = $context:expr, $($rest:tt)+) => {
        $crate::AsyncContextExt::with_local(
            $context,
            async |$value| $crate::async_with_local!($($rest)+),
        )
        .await
    };
}
