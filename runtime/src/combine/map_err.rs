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
        Converted::new(name, code, link, |error: C::Error| Ok(error.into())).await
    })
}

/// Maps errors by a function that can be called only once. If the future beside the body and then
/// exit fail, the error of that future is mapped, and goes to the caller. The error of exit is
/// reported.
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
        let mut map = Some(Apart::new(name, map));
        let link = lender.link();
        let code = context.__coroutine(lender.for_other_errors());
        let convert = |error| match map.take() {
            Some(map) => Ok(map.take()(error)),
            None => Err(error),
        };
        Converted::new(name, code, link, convert).await
    })
}
