//! The methods of every context: methods that use the context, and methods that change it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

#[cfg(feature = "stream")]
use futures_core::stream::FusedStream;

use crate::body::{Body, SendBody};
#[cfg(feature = "stream")]
use crate::body::{SendStreamBody, StreamBody};
use crate::carry::{Carry, CarryError};
use crate::combine::{self, BoxContext, Inside};
use crate::context::{AsyncContext, Verdict};
use crate::failure::Failure;
use crate::guard::Guard;
use crate::scope::{self, Live};
#[cfg(feature = "stream")]
use crate::stream::{self, Items};
use crate::timeout_error::TimeoutError;

/// Ways to use an [`AsyncContext`], and to change it before use. This trait is implemented for
/// every context.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[async_context]
/// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let result = number()
///     .err_into::<Box<dyn std::error::Error + Send + Sync>>() // change it,
///     .with(async |number| Ok(*number + "1".parse::<u32>()?)) // and use it
///     .await;
/// assert_eq!(result.unwrap(), 43);
/// # Ok(())
/// # }
/// ```
pub trait AsyncContextExt: AsyncContext {
    /// Enters the context, runs the body with its value, and exits: `async with`.
    ///
    /// The body may borrow from its surroundings, and use `?`. The future is `Send`. Therefore the
    /// body, its result and what it holds across an await must be `Send` as well. If your body is
    /// not `Send`, use [`with_local`](Self::with_local). A function that takes a body needs the
    /// bound [`SendBody`](crate::SendBody). A body that calls its own function needs a box, as the
    /// [guide shows](crate::guide::faq).
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let mut seen = Vec::new();
    /// let next = number()
    ///     .with(async |number| {
    ///         seen.push(*number); // a borrow from outside
    ///         tokio::task::yield_now().await;
    ///         Ok(*number + 1)
    ///     })
    ///     .await?;
    /// assert_eq!((next, seen), (43, vec![42]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of enter, or else the body's error, or else the exit's error. If both body and
    /// exit fail, `with` returns the body's error and [reports](crate::report) the exit's;
    /// [`try_with`](Self::try_with) returns both. A context with the verdict
    /// [`Suppression`](crate::Suppression) may turn a body's error into `Ok(None)`.
    ///
    /// # Panics
    ///
    /// If enter, the body or exit panics. The body's panic goes on after exit has run; a panic of
    /// that exit is then reported.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before its first poll, nothing has happened. If it is dropped
    /// during enter, enter goes on in the background, and exit follows. If it is dropped during the
    /// body, what the body holds drops first, and then exit runs in the background. If it is
    /// dropped during exit, that exit goes on in the background. See [`detached`](crate::detached).
    fn with<R, F>(
        self,
        body: F,
    ) -> impl Future<Output = Result<<Self::Verdict as Verdict>::Output<R>, Self::Error>> + Send
    where
        Self: 'static, // a context that borrows is for `with_scoped`
        R: Send,
        F: for<'a> SendBody<&'a mut Self::Value, Result<R, Self::Error>>, // a body that is not `Send`: use `with_local`
    {
        scope::run(self, Live::new_inside, body, Failure::reporting)
    }

    /// Like [`with`](Self::with), for a body that is not `Send`.
    ///
    /// The future is `Send` whenever it can be, and the compiler usually infers that. The compiler
    /// cannot infer it if the value's type contains a lifetime, as `&'static str` does, and the
    /// future is part of a bigger future that must be `Send`, such as a spawned task, an axum
    /// handler or the code of another context. Then the compiler says that an "implementation of
    /// `AsyncFnOnce` is not general enough" (a [limit of today's compiler]). `with` does not have
    /// that limit, because its signature says that the future is `Send`.
    ///
    /// [limit of today's compiler]: https://github.com/rust-lang/rust/issues/110338
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::{io, rc::Rc};
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let one = Rc::new(1); // can't be sent to another thread
    /// let next = number().with_local(async |number| Ok(*number + *one)).await?;
    /// assert_eq!(next, 43);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `with`.
    ///
    /// # Panics
    ///
    /// As `with`.
    ///
    /// # Cancel safety
    ///
    /// As `with`.
    fn with_local<R, F>(
        self,
        body: F,
    ) -> impl Future<Output = Result<<Self::Verdict as Verdict>::Output<R>, Self::Error>>
    where
        Self: 'static, // a context that borrows is for `with_scoped`
        F: for<'a> Body<&'a mut Self::Value, Result<R, Self::Error>>,
    {
        scope::run(self, Live::new_inside, body, Failure::reporting)
    }

    /// Like [`with`](Self::with), but returns every error, and says where each comes from.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// #[async_context]
    /// async fn file() -> Result<(), &'static str> {
    ///     let ((), _) = yield_!(());
    ///     Err("disk full")
    /// }
    ///
    /// let ended = file().try_with(async |()| Err::<(), _>("no such user")).await;
    /// assert_eq!(ended, Err(Failure::BodyAndExit { body: "no such user", exit: "disk full" }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Failure`].
    ///
    /// # Panics
    ///
    /// As `with`.
    ///
    /// # Cancel safety
    ///
    /// As `with`.
    fn try_with<R, F>(
        self,
        body: F,
    ) -> impl Future<Output = Result<<Self::Verdict as Verdict>::Output<R>, Failure<R, Self::Error>>>
    + Send
    where
        Self: 'static, // a context that borrows is for `with_scoped`
        R: Send,
        F: for<'a> SendBody<&'a mut Self::Value, Result<R, Self::Error>>, // a body that is not `Send`: use `try_with_local`
    {
        scope::run(self, Live::new_inside, body, |_, result| result)
    }

    /// Like [`try_with`](Self::try_with), for a body that is not `Send`: see
    /// [`with_local`](Self::with_local).
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::{io, rc::Rc};
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let one = Rc::new(1);
    /// let next = number().try_with_local(async |number| Ok(*number + *one)).await;
    /// assert_eq!(next.unwrap(), 43);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Failure`].
    ///
    /// # Panics
    ///
    /// As `with`.
    ///
    /// # Cancel safety
    ///
    /// As `with`.
    fn try_with_local<R, F>(
        self,
        body: F,
    ) -> impl Future<Output = Result<<Self::Verdict as Verdict>::Output<R>, Failure<R, Self::Error>>>
    where
        Self: 'static, // a context that borrows is for `with_scoped`
        F: for<'a> Body<&'a mut Self::Value, Result<R, Self::Error>>,
    {
        scope::run(self, Live::new_inside, body, |_, result| result)
    }

    /// Enters the context, and returns a guard that dereferences to the value.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// async fn first_above(limit: u32) -> io::Result<Option<u32>> {
    ///     let mut number = number().guard().await?;
    ///     while *number < 100 {
    ///         *number += 1;
    ///         if *number > limit {
    ///             let found = *number;
    ///             return Guard::exit(number, Ok(Some(found))).await; // `return` works here
    ///         }
    ///     }
    ///     Guard::exit(number, Ok(None)).await
    /// }
    /// assert_eq!(first_above(50).await?, Some(51));
    /// assert_eq!(first_above(200).await?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of enter.
    ///
    /// # Panics
    ///
    /// If enter panics.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during enter, enter goes on in the background, and exit follows.
    fn guard(self) -> impl Future<Output = Result<Guard<Self>, Self::Error>>
    where
        Self: 'static, // a context that borrows is for `with_scoped`
    {
        Guard::enter(self)
    }

    /// Enters the context, and returns the items that the body sends, as a stream that owns the
    /// context.
    ///
    /// Use it to read from something that must be closed: rows of a cursor in a transaction, lines
    /// of a session, parts of a download. The stream can be returned, kept in a struct, or sent as
    /// the body of a response, and the context lives as long as the stream. The guide has a page on
    /// [streams and bodies](crate::guide::streams).
    ///
    /// The body runs in the task that polls the stream, and only during a poll. The body is never
    /// more than one item ahead: [`send`](crate::Items::send) returns once the consumer has taken
    /// the item and asks for the next item. When the stream gives `None`, the exit has ended.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn file(text: &'static str) -> io::Result<String> { let (_, _) = yield_!(text.to_owned()); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// use futures::{Stream, TryStreamExt};
    ///
    /// fn numbers(text: &'static str) -> impl Stream<Item = io::Result<u32>> {
    ///     file(text).stream(async |file, items| {
    ///         for line in file.lines() {
    ///             items.send(line.parse().map_err(io::Error::other)?).await; // `?` fails the stream
    ///         }
    ///         Ok(())
    ///     })
    /// }
    /// assert_eq!(numbers("1\n2").try_collect::<Vec<_>>().await?, [1, 2]);
    /// assert!(numbers("1\ntwo").try_collect::<Vec<_>>().await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The stream's last item is the error that [`with`](Self::with) would return: the error of
    /// enter, of the body, or of exit. Every later poll gives `None`. An error that exit
    /// [suppresses](crate::Suppression) ends the stream as if the body had completed.
    ///
    /// # Panics
    ///
    /// If enter, the body or exit panics. If the body panics, the poll panics after exit has run.
    /// Later polls give `None`.
    ///
    /// # Cancel safety
    ///
    /// If the stream is dropped before its first poll, nothing has happened. If it is dropped
    /// between two items, what the body holds drops first, and then exit runs in the background, as
    /// [`Cancelled`](crate::Outcome::Cancelled). The same happens if a consumer takes only some of
    /// the items. To let the exit see a completed body, and to get its error, poll the stream until
    /// `None`. A stream that nobody polls for a while stands still, and loses nothing. Its exit is
    /// ordered like that of a [guard](Guard#order).
    ///
    /// # Comparison
    ///
    /// In a `try_stream!` of the crate `async-stream`, a `yield` cannot be in the body of a `with`,
    /// because that body is a closure. Next to a guard, a `yield` works, but a `?` drops the guard.
    /// The guard's context then exits in the background as cancelled, and does not see the error.
    /// The stream ends before that exit has ended.
    #[cfg(feature = "stream")]
    fn stream<T, F>(self, body: F) -> impl FusedStream<Item = Result<T, Self::Error>> + Send + Unpin
    where
        Self: 'static, // what a stream owns does not borrow
        T: Send,       // items that are not `Send` are for `stream_local`
        F: for<'a, 'i> SendStreamBody<
                &'a mut Self::Value,
                &'i mut Items<T>,
                Result<(), Self::Error>,
            >, // a body that is not `Send`: use `stream_local`
    {
        stream::stream(self, body)
    }

    /// Like [`stream`](Self::stream), for a body or items that are not `Send`.
    ///
    /// ```
    /// # use async_context_manager::{contexts::ready, prelude::*};
    /// # use std::{io, rc::Rc};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// use futures::TryStreamExt;
    ///
    /// let numbers = ready::<_, io::Error>(42).stream_local(async |number, items| {
    ///     items.send(Rc::new(*number)).await;
    ///     Ok(())
    /// });
    /// assert_eq!(numbers.try_collect::<Vec<_>>().await?, [Rc::new(42)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `stream`.
    ///
    /// # Panics
    ///
    /// As `stream`.
    ///
    /// # Cancel safety
    ///
    /// As `stream`.
    #[cfg(feature = "stream")]
    fn stream_local<T, F>(self, body: F) -> impl FusedStream<Item = Result<T, Self::Error>> + Unpin
    where
        Self: 'static, // what a stream owns does not borrow
        F: for<'a, 'i> StreamBody<&'a mut Self::Value, &'i mut Items<T>, Result<(), Self::Error>>,
    {
        stream::stream(self, body)
    }

    /// Like [`with`](Self::with), for a context that borrows.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// #[async_context]
    /// async fn indented(text: &mut String) -> io::Result<()> {
    ///     text.push('{');
    ///     let ((), _) = yield_!(());
    ///     text.push('}');
    ///     Ok(())
    /// }
    ///
    /// let mut text = String::new();
    /// indented(&mut text).with_scoped(async |()| Ok(())).await?;
    /// assert_eq!(text, "{}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `with`.
    ///
    /// # Panics
    ///
    /// As `with`.
    ///
    /// # Cancel safety
    ///
    /// **A drop is not covered**: a context that borrows cannot go on in the background. If the
    /// future is dropped between the beginning of enter and the end of exit, the context drops
    /// where it stands, and that is [reported](crate::report::Kind::NotRun). Errors and panics are
    /// covered as in `with`.
    fn with_scoped<R, F>(
        self,
        body: F,
    ) -> impl Future<Output = Result<<Self::Verdict as Verdict>::Output<R>, Self::Error>> + Send
    where
        R: Send,
        F: for<'a> SendBody<&'a mut Self::Value, Result<R, Self::Error>>, // a body that is not `Send`: use `with_scoped_local`
    {
        scope::run(self, scope::scoped, body, Failure::reporting)
    }

    /// Like [`with_scoped`](Self::with_scoped), for a body that is not `Send`: see
    /// [`with_local`](Self::with_local).
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::{io, rc::Rc};
    /// # #[async_context]
    /// # async fn first(text: &str) -> io::Result<char> {
    /// #     let (_, _) = yield_!(text.chars().next().unwrap_or_default());
    /// #     Ok(())
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let text = String::from("abc");
    /// let last = Rc::new('z');
    /// let both = first(&text).with_scoped_local(async |first| Ok((*first, *last))).await?;
    /// assert_eq!(both, ('a', 'z'));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `with`.
    ///
    /// # Panics
    ///
    /// As `with`.
    ///
    /// # Cancel safety
    ///
    /// As `with_scoped`.
    fn with_scoped_local<R, F>(
        self,
        body: F,
    ) -> impl Future<Output = Result<<Self::Verdict as Verdict>::Output<R>, Self::Error>>
    where
        F: for<'a> Body<&'a mut Self::Value, Result<R, Self::Error>>,
    {
        scope::run(self, scope::scoped, body, Failure::reporting)
    }

    /// Returns a context that converts its errors to `E`, for a body that fails with `E`.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// #[derive(Debug)]
    /// enum Error { Io(io::Error), Number(std::num::ParseIntError) }
    /// # impl From<io::Error> for Error { fn from(error: io::Error) -> Self { Self::Io(error) } }
    /// # impl From<std::num::ParseIntError> for Error { fn from(error: std::num::ParseIntError) -> Self { Self::Number(error) } }
    ///
    /// let result = number().err_into::<Error>().with(async |_| Ok("x".parse::<u32>()?)).await;
    /// assert!(matches!(result, Err(Error::Number(_))));
    /// # Ok(())
    /// # }
    /// ```
    fn err_into<E>(
        self,
    ) -> impl AsyncContext<Value = Self::Value, Error = E, Verdict = Self::Verdict>
    where
        Self::Error: Into<E>,
        E: fmt::Debug + Send + Sync + 'static, // a boxed error must be `Box<dyn Error + Send + Sync>`
    {
        combine::err_into(self)
    }

    /// Returns a context that maps its errors (of enter, of exit, and of the future beside the
    /// body), for a body that fails with `E`. One use can have several errors: `map` is called for
    /// each of them.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let context = number().map_err(|error| error.to_string());
    /// assert_eq!(context.with(async |_| Err::<(), _>("no".to_owned())).await, Err("no".to_owned()));
    /// # Ok(())
    /// # }
    /// ```
    fn map_err<E, F>(
        self,
        map: F,
    ) -> impl AsyncContext<Value = Self::Value, Error = E, Verdict = Self::Verdict>
    where
        F: FnMut(Self::Error) -> E + Send,
        E: fmt::Debug + Send + Sync + 'static,
    {
        combine::map_err(self, map)
    }

    /// Returns a context that limits the time of its enter.
    ///
    /// The error type of the body is then [`TimeoutError<Error>`](TimeoutError). In the body, a `?`
    /// converts an error of the context's own type. So a body that ended in `read(name).await` now
    /// ends in `Ok(read(name).await?)`.
    ///
    /// The limit does not cover body and exit. In Python, this is `asyncio.timeout` around
    /// `__aenter__`, except that Python cancels `__aenter__`.
    ///
    /// An enter that exceeds its limit is not cut off. It goes on in the background, and exit
    /// follows, as if the caller had gone away. The exits of the contexts around it wait for both.
    ///
    /// ```
    /// use async_context_manager::prelude::*;
    /// use std::{io, time::Duration};
    ///
    /// #[async_context]
    /// async fn connection(delay: Duration) -> io::Result<&'static str> {
    ///     tokio::time::sleep(delay).await;
    ///     let (_, outcome) = yield_!("connected");
    ///     println!("closed: {outcome:?}"); // Completed, and then Cancelled
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// for (delay, in_time) in [(0, true), (100, false)] {
    ///     let result = connection(Duration::from_millis(delay))
    ///         .enter_timeout(Duration::from_millis(50))
    ///         .with(async |connection| Ok(connection.len()))
    ///         .await;
    ///     assert_eq!(result.is_ok(), in_time);
    ///     assert_eq!(result.is_err_and(|error| error.is_elapsed()), !in_time);
    /// }
    /// # async_context_manager::detached::drain().await;
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the context is entered on a tokio runtime without a timer, where `tokio::time::timeout`
    /// panics as well. The context's own enter does not begin then. Without a tokio runtime, a
    /// thread of this crate measures the time.
    fn enter_timeout(
        self,
        limit: Duration,
    ) -> impl AsyncContext<Value = Self::Value, Error = TimeoutError<Self::Error>, Verdict = Self::Verdict>
    where
        Self: 'static, // a context that borrows is for `with_scoped`
    {
        combine::enter_timeout(self, limit)
    }

    /// Returns a context that limits the time of its body.
    ///
    /// When the time is over, the body drops, and the contexts inside it exit as cancelled. Exit
    /// sees the timeout as the body's error, and the caller gets that error after exit. The limit
    /// does not cover enter and exit. In Python, this is `asyncio.timeout` around the block.
    ///
    /// ```
    /// use async_context_manager::{Phase, prelude::*};
    /// use std::{future::pending, io, time::Duration};
    ///
    /// #[async_context]
    /// async fn connection() -> io::Result<&'static str> {
    ///     let (_, outcome) = yield_!("connected");
    ///     assert!(outcome.is_failed());
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let limited = connection().body_timeout(Duration::from_secs(1));
    /// let result = limited.with(async |_| pending::<Result<(), _>>().await).await;
    /// assert!(matches!(result, Err(TimeoutError::Elapsed { phase: Phase::Body, .. })));
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the context is entered on a tokio runtime without a timer.
    fn body_timeout(
        self,
        limit: Duration,
    ) -> impl AsyncContext<Value = Self::Value, Error = TimeoutError<Self::Error>, Verdict = Self::Verdict>
    {
        combine::body_timeout(self, limit)
    }

    /// Returns a context that limits the time of its exit. The time begins with the exit's own
    /// code, after the exits that this exit must wait for have ended. In Python, this is
    /// `asyncio.timeout` around `__aexit__`.
    ///
    /// An exit that exceeds its limit is dropped where it stands, and the exits of the contexts
    /// around it go on. The caller gets [`TimeoutError::Elapsed`], like any error of exit. If the
    /// caller has left, or gets the error or panic of the body instead, the timeout is
    /// [reported](crate::report) as [`TimedOut`](crate::report::Kind::TimedOut).
    ///
    /// A context that the exit had opened by then goes on in the background. No other exit waits
    /// for that context, and it is reported as [`LetGo`](crate::report::Kind::LetGo). A guard that
    /// was opened elsewhere and passed to the exit keeps its order.
    ///
    /// A `Vec` of contexts, or a [`join`](crate::join), has several exits. Those that have begun
    /// are dropped, and the others run in the background.
    ///
    /// ```
    /// use async_context_manager::{Phase, prelude::*};
    /// use std::{future::pending, io, time::Duration};
    ///
    /// #[async_context]
    /// async fn session() -> io::Result<()> {
    ///     let ((), _) = yield_!(());
    ///     pending().await // the other side never says goodbye
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # async_context_manager::report::set_hook(|_| {});
    /// let result = session()
    ///     .exit_timeout(Duration::from_millis(10))
    ///     .with(async |()| Ok("work done"))
    ///     .await;
    /// assert!(matches!(result, Err(TimeoutError::Elapsed { phase: Phase::Exit, .. })));
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the context is entered on a tokio runtime without a timer, where `tokio::time::timeout`
    /// panics as well. The context's own enter does not begin then. Without a tokio runtime, a
    /// thread of this crate measures the time.
    fn exit_timeout(
        self,
        limit: Duration,
    ) -> impl AsyncContext<Value = Self::Value, Error = TimeoutError<Self::Error>, Verdict = Self::Verdict>
    {
        combine::exit_timeout(self, limit)
    }

    /// Returns a context that sends the errors of its exit only to the [report
    /// hook](crate::report). Errors of enter and of the body stay as they are. An exit that fails
    /// suppresses nothing.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// #[async_context]
    /// async fn session() -> Result<(), &'static str> {
    ///     let ((), _) = yield_!(());
    ///     Err("the other side has gone")
    /// }
    ///
    /// # async_context_manager::report::set_hook(|_| {});
    /// assert_eq!(session().ignore_exit_errors().with(async |()| Ok(1)).await, Ok(1));
    /// # Ok(())
    /// # }
    /// ```
    fn ignore_exit_errors(
        self,
    ) -> impl AsyncContext<Value = Self::Value, Error = Self::Error, Verdict = Self::Verdict> {
        combine::ignore_exit_errors(self)
    }

    /// Returns a context whose enter may be given up: if the caller goes away during enter, the
    /// context is dropped on the spot. Its enter does not go on in the background. In a function
    /// under `#[async_context]`, [`cancellable!`](crate::cancellable) marks a single await.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> io::Result<()> {
    /// #[async_context]
    /// async fn slow() -> io::Result<()> {
    ///     std::future::pending::<()>().await;
    ///     let ((), _) = yield_!(());
    ///     Ok(())
    /// }
    ///
    /// let waiting = slow().cancellable_enter().with(async |()| Ok(()));
    /// assert!(tokio::time::timeout(std::time::Duration::from_secs(1), waiting).await.is_err());
    /// assert_eq!(async_context_manager::detached::count(), 0); // it was dropped there
    /// # Ok(())
    /// # }
    /// ```
    fn cancellable_enter(
        self,
    ) -> impl AsyncContext<Value = Self::Value, Error = Self::Error, Verdict = Self::Verdict> {
        combine::cancellable_enter(self)
    }

    /// Returns the context as a type that can be named, for struct fields, collections and
    /// recursion. A guard of that type is a `Guard<BoxContext<V, E>>`.
    ///
    /// ```
    /// # use async_context_manager::{contexts::ready, prelude::*};
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let contexts: Vec<BoxContext<u32, io::Error>> = vec![number().boxed(), ready(1).boxed()];
    /// let sum = contexts.with(async |numbers| Ok(numbers.iter().sum::<u32>())).await?;
    /// assert_eq!(sum, 43);
    /// # Ok(())
    /// # }
    /// ```
    fn boxed(self) -> BoxContext<Self::Value, Self::Error, Self::Verdict>
    where
        Self: 'static, // a context that borrows is for `with_scoped`
    {
        BoxContext::new(self)
    }

    /// Returns a context whose exit has a value of the task that entered the context: the value of
    /// a `tokio::task_local!`, or of any other [`Carry`].
    ///
    /// An exit in the background runs in a task of its own. A task-local has no value there, so
    /// reading it panics. With `carry`, the exit has the value wherever it runs: awaited, in the
    /// background, in a stack, and on the thread of the crate. An enter that goes on in the
    /// background has the value as well. A context that this context's code opens has the value
    /// while this code polls it, but not if it goes on in the background separately. For that, call
    /// `carry` on that context as well.
    ///
    /// ```
    /// use async_context_manager::{contexts::defer, detached, prelude::*};
    ///
    /// tokio::task_local! { static TENANT: &'static str; }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let close = defer(async |_: &Outcome| {
    ///     println!("closed for {}", TENANT.get());
    ///     Ok::<_, String>(())
    /// });
    /// let request = async {
    ///     let session = close.carry(&TENANT).guard().await.unwrap();
    ///     drop(session); // closes in the background, for acme
    /// };
    /// TENANT.scope("acme", request).await;
    /// detached::drain().await;
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CarryError::NotSet`] from enter, if no value is attached. The context's own errors are in
    /// [`CarryError::Context`].
    fn carry<K: Carry>(
        self,
        key: K,
    ) -> impl AsyncContext<Value = Self::Value, Error = CarryError<Self::Error>, Verdict = Self::Verdict>
    {
        combine::carry(self, key)
    }

    /// Returns a context that no other exit waits for. Its own exit waits only for what is inside
    /// the context.
    ///
    /// Use it for contexts that one task holds side by side and that do not use each other, such as
    /// the sessions in a server's map. Without it, the exit of an older guard waits for the exit of
    /// a younger guard that the same task gave up before.
    ///
    /// The contexts around it do not wait for it either. Code that runs the context, such as a
    /// `with` or a stack, still awaits its exit, and so does [`drain`](crate::detached::drain).
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::{collections::HashMap, io};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// #[async_context]
    /// async fn session(id: u32) -> io::Result<u32> {
    ///     let (id, _) = yield_!(id);
    ///     if id == 2 {
    ///         std::future::pending::<()>().await; // the other side does not answer
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let mut sessions = HashMap::new();
    /// for id in 1..=3 {
    ///     sessions.insert(id, session(id).independent().boxed().guard().await?);
    /// }
    /// drop(sessions.remove(&2)); // goes on in the background, for ever
    /// Guard::close(sessions.remove(&1).unwrap()).await?; // does not wait for it
    /// # std::process::exit(0);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the context is entered after it was also put [`inside`](Self::inside) a guard.
    fn independent(
        self,
    ) -> impl AsyncContext<Value = Self::Value, Error = Self::Error, Verdict = Self::Verdict> {
        combine::independent(self)
    }

    /// Returns a context that is inside two contexts: the one that opens it, as always, and the
    /// guard's. The exit of the guard waits for this context if any task gave this context up
    /// before that exit begins.
    ///
    /// Use it for a context that uses what a guard holds, as a transaction uses its connection. The
    /// guard is borrowed only for this call. Give this context up before the guard, in whatever
    /// task: once the exit of the guard has begun, it does not wait for a context that is still
    /// held.
    ///
    /// A context may be put inside several guards. When the context of one of them has ended, this
    /// context is inside the contexts around that guard.
    ///
    /// ```
    /// # use async_context_manager::{detached, prelude::*};
    /// # use std::{io, sync::Mutex};
    /// static LOG: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    ///
    /// #[async_context]
    /// async fn part(name: &'static str) -> io::Result<()> {
    ///     let ((), _) = yield_!(());
    ///     tokio::task::yield_now().await;
    ///     LOG.lock().unwrap().push(name);
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let connection = part("connection").guard().await?;
    /// let transaction = part("transaction").inside(&connection).guard().await?;
    /// tokio::spawn(async move { drop(transaction) }).await.unwrap();
    /// drop(connection); // its exit waits for that of the transaction
    /// detached::drain().await;
    /// assert_eq!(*LOG.lock().unwrap(), ["transaction", "connection"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the context is entered and is also [`independent`](Self::independent).
    fn inside<C>(self, guard: &Guard<C>) -> Inside<Self>
    where
        C: AsyncContext + 'static,
    {
        Inside::new(self, guard.home())
    }
}

#[expect(
    clippy::needless_maybe_sized,
    reason = "without it, rustc says of a type that derefs to a slice that `[T]` is not `Sized`, and not our message"
)]
impl<C: AsyncContext + ?Sized> AsyncContextExt for C {}
