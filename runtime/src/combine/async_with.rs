//! Nesting, written flat.

/// Enters contexts one after the other, runs the block inside of them all, and exits them in reverse:
/// Python's `async with database(url) as pool, transaction(pool) as tx:`.
///
/// Each name is a `&mut` to its context's value, which the contexts after it and the block can use.
/// A pattern does as well: `_`, or `(pool, listener)` for a [`join`](crate::join) of two.
/// It evaluates to what nested calls of [`with`](crate::AsyncContextExt::with) do, awaited; so it
/// belongs in `async` code. The block gives a `Result`; `?` and `return` in it end the block alone, not
/// the function around it.
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
/// All contexts have the error type of the block, which
/// [`err_into`](crate::AsyncContextExt::err_into) makes so. Each one that may suppress errors makes an
/// `Option` of the result. In a spawned task, where a value's type has a lifetime in it, take
/// [`async_with_send!`](crate::async_with_send).
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

/// As [`async_with!`](crate::async_with), with a future that is `Send` by promise: see
/// [`with_send`](crate::AsyncContextExt::with_send), which it nests.
///
/// For a spawned task, or a handler of a web framework, where a value's type has a lifetime in it.
///
/// ```
/// use async_context_manager::{async_with_send, prelude::*};
/// use std::io;
///
/// #[async_context]
/// async fn name(name: &'static str) -> io::Result<&'static str> {
///     let (_, _) = yield_!(name);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let task = tokio::spawn(async {
///     async_with_send!(first = name("Ada"), last = name("Lovelace") => {
///         tokio::task::yield_now().await;
///         Ok(format!("{first} {last}"))
///     })
/// });
/// assert_eq!(task.await??, "Ada Lovelace");
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! async_with_send {
    ($value:pat_param = $context:expr $(,)? => $body:expr $(,)?) => {
        $crate::AsyncContextExt::with_send($context, async |$value| $body).await
    };
    ($value:pat_param = $context:expr, $($rest:tt)+) => {
        $crate::AsyncContextExt::with_send(
            $context,
            async |$value| $crate::async_with_send!($($rest)+),
        )
        .await
    };
}
