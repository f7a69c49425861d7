//! Any number of contexts at the same time.

use std::fmt;
use std::future::Future;

use crate::combine::joined::{Joined, run};
use crate::combine::members::Member;
use crate::context::AsyncContext;
use crate::generator::Named;
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
    let joined = Joined {
        members: members.collect(),
        limit: usize::MAX,
    };
    JoinAll(Named::new(joined))
}

const NAME: &str = "async_context_manager::join_all";

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
pub struct JoinAll<C: AsyncContext<Verdict = ()> + 'static>(Code<C>);

type Code<C> = Named<
    'static,
    Joined<Vec<Member<C>>>,
    Vec<<C as AsyncContext>::Value>,
    <C as AsyncContext>::Error,
    (),
>;

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
    ///
    /// # Panics
    ///
    /// If the contexts were entered before, by hand.
    pub fn limit(self, limit: usize) -> Self {
        let mut joined = self.0.into_arguments(NAME);
        joined.limit = limit.max(1);
        Self(Named::new(joined))
    }
}

impl<C: AsyncContext<Verdict = ()> + 'static> AsyncContext for JoinAll<C> {
    type Value = Vec<C::Value>;
    type Error = C::Error;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<Vec<C::Value>, C::Error> {
        self.0.enter(NAME, run).await
    }

    async fn beside(&mut self) -> Result<(), C::Error> {
        self.0.beside(NAME).await
    }

    async fn exit(self, values: Vec<C::Value>, outcome: &Outcome) -> Result<(), C::Error> {
        self.0.exit(NAME, values, outcome).await
    }

    fn __name(&self) -> &'static str {
        NAME
    }

    fn __coroutine(
        self,
        lender: Lender<Vec<C::Value>, C::Error>,
    ) -> impl Future<Output = Result<(), C::Error>> + Send {
        run(self.0.into_arguments(NAME), lender)
    }
}

impl<C: AsyncContext<Verdict = ()> + 'static> fmt::Debug for JoinAll<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("JoinAll");
        if let Some(joined) = self.0.arguments() {
            debug.field("contexts", &joined.members.len());
            debug.field("limit", &joined.limit);
        }
        debug.finish()
    }
}
