//! A context whose type can be named.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::context::{AsyncContext, Verdict};
use crate::generator::{Generator, generator};
use crate::lender::Lender;
use crate::outcome::Outcome;

/// A context of any type with this value, error and verdict.
/// [`boxed`](crate::AsyncContextExt::boxed) returns it.
///
/// ```
/// use async_context_manager::BoxContext;
/// use std::io;
///
/// struct Service {
///     open_store: fn(&str) -> BoxContext<Vec<u8>, io::Error>,
/// }
/// ```
pub struct BoxContext<V, E, D = ()>(Generator<V, E, Code<V, E, D>, Run<E, D>>);

type Code<V, E, D> = Box<dyn FnOnce(Lender<V, E>) -> Run<E, D> + Send>;
type Run<E, D> = Pin<Box<dyn Future<Output = Result<D, E>> + Send>>;

impl<V, E, D> BoxContext<V, E, D>
where
    V: Send,
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    pub(crate) fn new<C>(context: C) -> Self
    where
        C: AsyncContext<Value = V, Error = E, Verdict = D> + 'static,
    {
        let name = context.__name();
        let code = move |lender| -> Run<E, D> { Box::pin(context.__coroutine(lender)) };
        Self(generator(name, Box::new(code)))
    }
}

impl<V, E, D> AsyncContext for BoxContext<V, E, D>
where
    V: Send,
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    type Value = V;
    type Error = E;
    type Verdict = D;
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<V, E> {
        self.0.enter().await
    }

    async fn beside(&mut self) -> Result<(), E> {
        self.0.beside().await
    }

    async fn exit(self, value: V, outcome: &Outcome) -> Result<D, E> {
        self.0.exit(value, outcome).await
    }

    fn __name(&self) -> &'static str {
        self.0.__name()
    }

    fn __coroutine(self, lender: Lender<V, E>) -> impl Future<Output = Result<D, E>> + Send {
        self.0.__coroutine(lender)
    }
}

impl<V, E, D> fmt::Debug for BoxContext<V, E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxContext").field(&self.0).finish()
    }
}
