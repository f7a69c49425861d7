//! The functions that a user passes in: bodies, and functions that close something.

use std::future::Future;

/// A body: an `async` closure or function, as
/// [`with_local`](crate::AsyncContextExt::with_local) takes it.
/// Implemented for every `F: AsyncFnOnce(T) -> R`.
#[diagnostic::on_unimplemented(
    message = "a body is an `async` closure that returns a `Result` with the error of the context",
    label = "expects a body: an `async` closure",
    note = "write `async |value|` and a block; `.err_into::<Error>()` changes the error of the context"
)]
pub trait Body<T, R>: AsyncFnOnce(T) -> R + FnOnce(T) -> Self::Future {
    /// The future of a call of the body.
    type Future: Future<Output = R>;
}

#[diagnostic::do_not_recommend]
impl<F, T, R, Running> Body<T, R> for F
where
    F: AsyncFnOnce(T) -> R + FnOnce(T) -> Running,
    Running: Future<Output = R>,
{
    type Future = Running;
}

/// A body whose future is `Send`: an `async` closure or function, as
/// [`with`](crate::AsyncContextExt::with) takes it. Implemented for every such `F`.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[async_context]
/// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// use async_context_manager::SendBody;
///
/// async fn in_a_task<F>(body: F) -> io::Result<u32>
/// where
///     F: for<'a> SendBody<&'a mut u32, io::Result<u32>> + 'static,
/// {
///     tokio::spawn(number().with(body)).await?
/// }
/// assert_eq!(in_a_task(async |number: &mut u32| Ok(*number)).await?, 42);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "a body is an `async` closure that returns a `Result` with the error of the context",
    label = "expects a body: an `async` closure",
    note = "write `async |value|` and a block; `.err_into::<Error>()` changes the error of the context"
)]
pub trait SendBody<T, R>: Send + Body<T, R, Future: Send> {}

impl<F, T, R> SendBody<T, R> for F where F: Send + Body<T, R, Future: Send> {}

/// The body of a stream: an `async` closure or function, as
/// [`stream_local`](crate::AsyncContextExt::stream_local) takes it. Implemented for every
/// `F: AsyncFnOnce(V, I) -> R`.
///
/// ```
/// # use async_context_manager::{contexts::ready, prelude::*};
/// # use std::{convert::Infallible, rc::Rc};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use async_context_manager::{Items, StreamBody};
/// use futures::{Stream, TryStreamExt};
///
/// fn numbers<F>(body: F) -> impl Stream<Item = Result<Rc<u32>, Infallible>>
/// where
///     F: for<'a, 'i> StreamBody<&'a mut u32, &'i mut Items<Rc<u32>>, Result<(), Infallible>> + 'static,
/// {
///     ready(42).stream_local(body)
/// }
/// let numbers = numbers(async |number: &mut u32, items: &mut Items<_>| {
///     items.send(Rc::new(*number)).await;
///     Ok(())
/// });
/// assert_eq!(numbers.try_collect::<Vec<_>>().await, Ok(vec![Rc::new(42)]));
/// # }
/// ```
#[cfg(feature = "stream")]
#[diagnostic::on_unimplemented(
    message = "the body of a stream is an `async` closure that returns a `Result` with the error of the context",
    label = "expects a body: an `async` closure",
    note = "write `async |value, items|` and a block that ends with `Ok(())`; `.err_into::<Error>()` changes the error of the context"
)]
pub trait StreamBody<V, I, R>: AsyncFnOnce(V, I) -> R + FnOnce(V, I) -> Self::Future {
    /// The future of a call of the body.
    type Future: Future<Output = R>;
}

#[cfg(feature = "stream")]
#[diagnostic::do_not_recommend]
impl<F, V, I, R, Running> StreamBody<V, I, R> for F
where
    F: AsyncFnOnce(V, I) -> R + FnOnce(V, I) -> Running,
    Running: Future<Output = R>,
{
    type Future = Running;
}

/// The body of a stream whose future is `Send`: an `async` closure or function, as
/// [`stream`](crate::AsyncContextExt::stream) takes it. Implemented for every such `F`.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[async_context]
/// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// use async_context_manager::{Items, SendStreamBody};
/// use futures::{Stream, TryStreamExt};
///
/// fn doubled<F>(body: F) -> impl Stream<Item = io::Result<u32>>
/// where
///     F: for<'a, 'i> SendStreamBody<&'a mut u32, &'i mut Items<u32>, io::Result<()>> + 'static,
/// {
///     number().stream(body).map_ok(|number| number * 2)
/// }
/// let numbers = doubled(async |number: &mut u32, items: &mut Items<u32>| {
///     items.send(*number).await;
///     Ok(())
/// });
/// assert_eq!(numbers.try_collect::<Vec<_>>().await?, [84]);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "stream")]
#[diagnostic::on_unimplemented(
    message = "the body of a stream is an `async` closure that returns a `Result` with the error of the context",
    label = "expects a body: an `async` closure",
    note = "write `async |value, items|` and a block that ends with `Ok(())`; `.err_into::<Error>()` changes the error of the context"
)]
pub trait SendStreamBody<V, I, R>: Send + StreamBody<V, I, R, Future: Send> {}

#[cfg(feature = "stream")]
impl<F, V, I, R> SendStreamBody<V, I, R> for F where F: Send + StreamBody<V, I, R, Future: Send> {}

/// A closing function for [`ExitStack::adopt`](crate::ExitStack::adopt) whose future is `Send`: an
/// `async` closure or function of a value and the [`Outcome`](crate::Outcome). Implemented for
/// every such `F`.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// use async_context_manager::SendExit;
///
/// fn open<F>(stack: &ExitStack<io::Error>, close: F)
/// where
///     F: for<'o> SendExit<u32, &'o Outcome, io::Result<()>> + 'static,
/// {
///     drop(stack.adopt(42, close));
/// }
/// let stack = ExitStack::new();
/// open(&stack, async |number: u32, _: &Outcome| Ok(assert_eq!(number, 42)));
/// stack.exit(Ok(())).await?;
/// # Ok(())
/// # }
/// ```
pub trait SendExit<V, O, R>: Send + AsyncFnOnce(V, O) -> R + FnOnce(V, O) -> Self::Future {
    /// The future of a call of the function.
    type Future: Future<Output = R> + Send;
}

impl<F, V, O, R, Closing> SendExit<V, O, R> for F
where
    F: Send + AsyncFnOnce(V, O) -> R + FnOnce(V, O) -> Closing,
    Closing: Future<Output = R> + Send,
{
    type Future = Closing;
}
