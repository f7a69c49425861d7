//! A context with a time limit for its enter.

use std::task::Context;
use std::time::Duration;

use crate::context::AsyncContext;
use crate::generator::generator;
use crate::panic::resume;
use crate::scope::Live;
use crate::time_limit::{check_timer, within};
use crate::timeout_error::{Phase, TimeoutError};

pub(crate) fn enter_timeout<C: AsyncContext + 'static>(
    context: C,
    after: Duration,
) -> impl AsyncContext<Value = C::Value, Error = TimeoutError<C::Error>, Verdict = C::Verdict> {
    generator(context.__name(), async move |lender| {
        // Checked before anything exists that could go on in the background.
        check_timer();
        // When this drops, it hands its context over to the background. It drops at the limit, and
        // when the caller goes away.
        let mut live = Live::new_part(context, lender.part());
        {
            let _mark = lender.mark();
            let phase = Phase::Enter;
            let Some(entered) = within(after, live.enter()).await else {
                live.place().be_late();
                return Err(TimeoutError::Elapsed { phase, after });
            };
            resume(entered).map_err(TimeoutError::Context)?;
        }
        live.become_part();
        if live.is_limited() {
            lender.link().limit();
        }
        let value = live.take();
        let link = lender.link();
        let beside = |cx: &mut Context<'_>| {
            if !link.has_a_body() {
                live.end_around(cx);
            }
            let polled = live.poll_beside(cx);
            polled.map(|ended| ended.map_err(TimeoutError::Context))
        };
        let (value, outcome) = lender.yield_beside_all(value, beside).await;
        live.put(value);
        live.end_body(outcome.share());
        let exit = live.exit().await;
        lender.fail_as(live.failing().kind);
        resume(exit).map_err(TimeoutError::Context)
    })
}
