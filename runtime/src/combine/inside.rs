//! A context that is inside two contexts: the one that opens it, as always, and a guard's.

use std::fmt;

use crate::context::AsyncContext;
use crate::lender::Lender;
use crate::order::{self, Home};
use crate::outcome::Outcome;

/// A context that is inside two contexts: the one that opens it, as always, and a guard's.
/// [`inside`](crate::AsyncContextExt::inside) returns it.
///
/// This is a type with a name because an `impl AsyncContext` would borrow the guard for as long as
/// the context exists. If the code of another context enters this context by hand, that other
/// context is put inside the guard's context.
///
/// ```
/// use async_context_manager::{Inside, contexts::ready, prelude::*};
/// use std::io;
///
/// struct Client<C: AsyncContext + 'static> {
///     transaction: Guard<Inside<C>>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let connection = ready::<_, io::Error>("connection").guard().await?;
/// let transaction = ready::<_, io::Error>("transaction").inside(&connection).guard().await?;
/// let client = Client { transaction };
/// drop(connection);
/// Guard::close(client.transaction).await
/// # }
/// ```
#[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
pub struct Inside<C> {
    context: C,
    /// `None` when it has been entered.
    home: Option<Home>,
}

impl<C: AsyncContext> Inside<C> {
    pub(crate) fn new(context: C, home: Home) -> Self {
        let home = Some(home);
        Self { context, home }
    }

    /// Puts the context that is being polled here inside the guard's context.
    fn go_inside(&mut self) {
        let is_inside = self.home.take().is_none_or(order::put_inside_of);
        assert!(
            is_inside,
            "the context `{}` is independent, and can't be inside of a guard",
            self.context.__name()
        );
    }
}

impl<C: AsyncContext> AsyncContext for Inside<C> {
    type Value = C::Value;
    type Error = C::Error;
    type Verdict = C::Verdict;
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<C::Value, C::Error> {
        self.go_inside();
        self.context.enter().await
    }

    async fn beside(&mut self) -> Result<(), C::Error> {
        self.context.beside().await
    }

    async fn exit(self, value: C::Value, outcome: &Outcome) -> Result<C::Verdict, C::Error> {
        self.context.exit(value, outcome).await
    }

    fn __name(&self) -> &'static str {
        self.context.__name()
    }

    async fn __coroutine(
        mut self,
        lender: Lender<C::Value, C::Error>,
    ) -> Result<C::Verdict, C::Error> {
        self.go_inside();
        self.context.__coroutine(lender).await
    }
}

impl<C: AsyncContext> fmt::Debug for Inside<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inside")
            .field(&self.context.__name())
            .finish()
    }
}
