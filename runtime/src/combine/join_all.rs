//! Any number of contexts at the same time.

use std::fmt;
use std::future::Future;

use crate::combine::joined::Joined;
use crate::combine::members::Member;
use crate::context::AsyncContext;
use crate::driven::Drivers;
use crate::lender::Lender;
use crate::outcome::Outcome;

/// Joins many contexts, which enter and exit at the same time. The value is the list of their
/// values, in the order of the iterator. In Python, this is
/// `await asyncio.gather(*map(stack.enter_async_context, contexts))`.
///
/// ```
/// use async_context_manager::{join_all, prelude::*};
/// use std::io;
///
/// #[async_context]
/// async fn connection(server: u8) -> io::Result<String> {
///     let (_, _) = yield_!(format!("to server {server}"));
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let open = join_all((0..100).map(connection))
///     .limit(10)
///     .with(async |connections| Ok(connections.len()))
///     .await?;
/// assert_eq!(open, 100);
/// # Ok(())
/// # }
/// ```
///
/// Errors, panics and cancellation follow the rules of [`join`](crate::join). If the body takes
/// values out of the list, their exits cannot run, and that is
/// [reported](crate::report::Kind::NotRun), as with a `Vec` of contexts.
pub fn join_all<I>(contexts: I) -> JoinAll<I::Item>
where
    I: IntoIterator<Item: AsyncContext<Verdict = ()> + 'static>,
{
    let members = contexts.into_iter().map(Member::beside_others);
    JoinAll(Joined {
        name: "async_context_manager::join_all",
        members: members.collect(),
        limit: usize::MAX,
        drivers: Drivers::default(),
    })
}

/// The context that [`join_all`] returns.
///
/// ```
/// # use async_context_manager::{contexts::join_all, prelude::*};
/// # use std::io;
/// # #[async_context]
/// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// use async_context_manager::JoinAll;
///
/// fn first<C>(contexts: impl IntoIterator<Item = C>) -> JoinAll<C>
/// where
///     C: AsyncContext<Verdict = ()> + 'static,
/// {
///     join_all(contexts.into_iter().take(2))
/// }
/// let count = first([number(), number(), number()]).with(async |numbers| Ok(numbers.len())).await?;
/// assert_eq!(count, 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
pub struct JoinAll<C: AsyncContext<Verdict = ()> + 'static>(Joined<Vec<Member<C>>>);

impl<C: AsyncContext<Verdict = ()> + 'static> JoinAll<C> {
    /// Limits how many contexts are entered, or exited, at the same time; 0 counts as 1.
    ///
    /// ```
    /// # use async_context_manager::{contexts::join_all, prelude::*};
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let contexts = (0..10).map(|_| number());
    /// let count = join_all(contexts).limit(3).with(async |numbers| Ok(numbers.len())).await?;
    /// assert_eq!(count, 10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn limit(mut self, limit: usize) -> Self {
        self.0.limit = limit.max(1);
        self
    }
}

impl<C: AsyncContext<Verdict = ()> + 'static> AsyncContext for JoinAll<C> {
    type Value = Vec<C::Value>;
    type Error = C::Error;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<Vec<C::Value>, C::Error> {
        self.0.enter().await
    }

    async fn beside(&mut self) -> Result<(), C::Error> {
        self.0.beside().await
    }

    async fn exit(self, values: Vec<C::Value>, outcome: &Outcome) -> Result<(), C::Error> {
        self.0.exit(values, outcome).await
    }

    fn __name(&self) -> &'static str {
        self.0.__name()
    }

    fn __coroutine(
        self,
        lender: Lender<Vec<C::Value>, C::Error>,
    ) -> impl Future<Output = Result<(), C::Error>> + Send {
        self.0.__coroutine(lender)
    }
}

impl<C: AsyncContext<Verdict = ()> + 'static> fmt::Debug for JoinAll<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinAll")
            .field("contexts", &self.0.members.len())
            .field("limit", &self.0.limit)
            .finish()
    }
}
