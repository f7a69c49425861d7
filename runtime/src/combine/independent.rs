//! A context whose exit holds up no other exit.

use crate::context::AsyncContext;
use crate::generator::generator;
use crate::order;

pub(crate) fn independent<C: AsyncContext>(
    context: C,
) -> impl AsyncContext<Value = C::Value, Error = C::Error, Verdict = C::Verdict> {
    let name = context.__name();
    generator(name, async move |lender| {
        let is_alone = order::make_independent();
        assert!(
            is_alone,
            "the context `{name}` is independent, and can't be inside of a guard"
        );
        context.__coroutine(lender).await
    })
}
