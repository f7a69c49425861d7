//! A context with other errors.

use std::fmt;

use crate::context::AsyncContext;
use crate::generator::generator;
use crate::report::Apart;

pub(crate) fn map_err<C, E, F>(
    context: C,
    map: F,
) -> impl AsyncContext<Value = C::Value, Error = E, Verdict = C::Verdict>
where
    C: AsyncContext,
    F: FnOnce(C::Error) -> E + Send,
    E: fmt::Debug + Send + Sync + 'static,
{
    let name = context.__name();
    generator(name, async move |lender| {
        let map = Apart::new(name, map);
        let ended = context.__coroutine(lender).await;
        ended.map_err(|error| map.take()(error))
    })
}
