//! A context with a time limit for its body.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::combine::relay::{Relay, relay};
use crate::context::AsyncContext;
use crate::generator::generator;
use crate::time_limit::{Timer, check_timer};
use crate::timeout_error::{Phase, TimeoutError};

pub(crate) fn body_timeout<C: AsyncContext>(
    context: C,
    after: Duration,
) -> impl AsyncContext<Value = C::Value, Error = TimeoutError<C::Error>, Verdict = C::Verdict> {
    generator(context.__name(), async move |lender| {
        check_timer();
        // Created when the body begins.
        let mut timer = None;
        let mut is_over = false;
        let link = lender.link();
        let limit = |cx: &mut Context<'_>| {
            // A body that has ended was in time, however long its exit waits.
            if is_over || !link.has_a_body() {
                return Poll::Ready(Ok(()));
            }
            let timer = timer.get_or_insert_with(|| Timer::new(after));
            timer.poll(cx).map(|()| {
                is_over = true;
                let phase = Phase::Body;
                Err(TimeoutError::Elapsed { phase, after })
            })
        };
        let parts = Relay {
            there: |value| value,
            back: Some,
            error: TimeoutError::Context,
        };
        relay(&lender, context, parts, limit).await
    })
}
