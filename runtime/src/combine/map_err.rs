//! A context with converted errors.

use std::fmt;

use crate::context::AsyncContext;
use crate::converted::Converted;
use crate::generator::generator;
use crate::report::Apart;

pub(crate) fn err_into<C, E>(
    context: C,
) -> impl AsyncContext<Value = C::Value, Error = E, Verdict = C::Verdict>
where
    C: AsyncContext<Error: Into<E>>,
    E: fmt::Debug + Send + Sync + 'static,
{
    let name = context.__name();
    generator(name, async move |lender| {
        let link = lender.link();
        let code = context.__coroutine(lender.for_other_errors());
        Converted::new(code, link, |error: C::Error| error.into()).await
    })
}

pub(crate) fn map_err<C, E, F>(
    context: C,
    map: F,
) -> impl AsyncContext<Value = C::Value, Error = E, Verdict = C::Verdict>
where
    C: AsyncContext,
    F: FnMut(C::Error) -> E + Send,
    E: fmt::Debug + Send + Sync + 'static,
{
    let name = context.__name();
    generator(name, async move |lender| {
        let mut map = Apart::new(name, map);
        let link = lender.link();
        let code = context.__coroutine(lender.for_other_errors());
        Converted::new(code, link, |error| map.value()(error)).await
    })
}
