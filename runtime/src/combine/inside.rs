//! A context that is inside of a guard's context as well as where it is opened.

use crate::context::AsyncContext;
use crate::generator::generator;
use crate::order::{self, Home};

pub(crate) fn inside<C: AsyncContext>(
    context: C,
    home: Home,
) -> impl AsyncContext<Value = C::Value, Error = C::Error, Verdict = C::Verdict> {
    let name = context.__name();
    generator(name, async move |lender| {
        let is_inside = order::put_inside_of(home);
        assert!(
            is_inside,
            "the context `{name}` is independent, and can't be inside of a guard"
        );
        context.__coroutine(lender).await
    })
}
