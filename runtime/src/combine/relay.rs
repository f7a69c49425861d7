//! A context that runs as a part of an outer context. The outer context converts the part's value,
//! and lends it to the body.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use crate::context::{AsyncContext, Verdict};
use crate::coroutine::{report_end, settle_enter, stands_at_its_yield};
use crate::exchange::Link;
use crate::lender::{Lender, OFFERED};
use crate::report::{self, Kind};

/// How the outer context converts the value and the errors of the part.
pub(crate) struct Relay<C: AsyncContext, V, E> {
    pub(crate) there: fn(C::Value) -> V,
    /// Turns the outer context's value back into the value of the part. If this returns `None`, the
    /// part's exit cannot run.
    pub(crate) back: fn(V) -> Option<C::Value>,
    pub(crate) error: fn(C::Error) -> E,
}

/// Runs `context` as a part of the context whose code has this lender. `more` is polled beside the
/// body, in addition to the part's own future.
pub(crate) async fn relay<V, E, C: AsyncContext>(
    lender: &Lender<V, E>,
    context: C,
    relay: Relay<C, V, E>,
    mut more: impl FnMut(&mut Context<'_>) -> Poll<Result<(), E>>,
) -> Result<C::Verdict, E>
where
    E: std::fmt::Debug + Send + Sync + 'static,
{
    let name = context.__name();
    let link = Link::default();
    let inner = Lender::new(&link, lender.part().clone());
    let mut code = pin!(context.__coroutine(inner));
    let mut mark = None;
    let entered = poll_fn(|cx| {
        let polled = code.as_mut().poll(cx);
        match (link.is_cancellable(), &mark) {
            (true, None) => mark = Some(lender.mark()),
            (false, Some(_)) => mark = None,
            _ => {}
        }
        settle_enter(name, &link, polled)
    });
    entered.await.map_err(relay.error)?;
    if link.is_limited() {
        lender.exchange().limit();
    }
    let value = link.take().expect(OFFERED);
    let beside = |cx: &mut Context<'_>| {
        if !lender.exchange().has_a_body() {
            link.end_around();
        }
        if link.wants_a_poll_beside() {
            let polled = code.as_mut().poll(cx);
            if polled.is_ready() {
                // The check below panics, and code that has ended must not be polled again.
                link.stop_beside();
            }
            stands_at_its_yield(name, &polled);
        }
        if let Some(end) = link.take_end() {
            return Poll::Ready(end.into_result().map_err(relay.error));
        }
        match more(cx) {
            Poll::Ready(Ok(())) if !link.runs_beside() => Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    };
    let value = (relay.there)(value);
    let (value, outcome) = lender.yield_beside_all(value, beside).await;
    report_end(name, &link);
    let Some(value) = (relay.back)(value) else {
        report::plain(name, Kind::NotRun);
        return Ok(C::Verdict::PROPAGATE);
    };
    link.put(value);
    link.end_body(outcome.share());
    link.begin_exit();
    let exit = code.await;
    lender.fail_as(link.failed_as());
    exit.map_err(relay.error)
}
