//! A context with other errors.

use std::fmt;

use crate::context::AsyncContext;
use crate::coroutine::generator;

pub(crate) fn map_err<C, E, F>(
    context: C,
    map: F,
) -> impl AsyncContext<Value = C::Value, Error = E, Verdict = C::Verdict>
where
    C: AsyncContext,
    F: FnOnce(C::Error) -> E + Send,
    E: fmt::Debug + Send + Sync + 'static,
{
    generator(context.__name(), async move |lender| {
        context.__coroutine(lender).await.map_err(map)
    })
}
