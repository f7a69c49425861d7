//! A context whose exit cannot fail its caller.

use std::sync::Arc;

use crate::context::{AsyncContext, Verdict};
use crate::generator::generator;
use crate::report;

pub(crate) fn ignore_exit_errors<C: AsyncContext>(
    context: C,
) -> impl AsyncContext<Value = C::Value, Error = C::Error, Verdict = C::Verdict> {
    let name = context.__name();
    generator(name, async move |lender| {
        let link = lender.link();
        match context.__coroutine(lender).await {
            Err(error) if link.has_yielded() => {
                report::error(name, link.failed_as(), Arc::new(error));
                Ok(C::Verdict::PROPAGATE)
            }
            result => result,
        }
    })
}
