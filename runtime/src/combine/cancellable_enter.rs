//! A context whose enter may be given up.

use crate::context::AsyncContext;
use crate::exchange::Mark;
use crate::generator::generator;

pub(crate) fn cancellable_enter<C: AsyncContext>(
    context: C,
) -> impl AsyncContext<Value = C::Value, Error = C::Error, Verdict = C::Verdict> {
    generator(context.__name(), async move |lender| {
        // Marks only count during enter, so this one has no effect once the value is lent.
        let link = lender.link();
        let _mark = Mark::new(&link);
        context.__coroutine(lender).await
    })
}
