//! A context that is used as a part of another one, whose value is made of that of the part.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use crate::context::{AsyncContext, Verdict};
use crate::coroutine::{report_end, settle_enter, stands_at_its_yield};
use crate::exchange::Link;
use crate::lender::{Lender, OFFERED};
use crate::report::{self, Kind};

/// Runs a context that lends another value as a part of the lender's: `there` makes ours of its
/// value, and `back` its value of ours. Where that gives `None` its exit can't run.
pub(crate) async fn relay<V, C: AsyncContext>(
    lender: &Lender<V, C::Error>,
    context: C,
    there: fn(C::Value) -> V,
    back: fn(V) -> Option<C::Value>,
) -> Result<C::Verdict, C::Error> {
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
    entered.await?;
    let value = link.take().expect(OFFERED);
    let beside = |cx: &mut Context<'_>| {
        if link.runs_beside() {
            stands_at_its_yield(name, &code.as_mut().poll(cx));
        }
        match link.take_end() {
            Some(end) => Poll::Ready(end.into_result()),
            None if link.runs_beside() => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    };
    let (value, outcome) = lender.yield_beside_all(there(value), beside).await;
    report_end(name, &link);
    let Some(value) = back(value) else {
        report::plain(name, Kind::NotRun);
        return Ok(C::Verdict::PROPAGATE);
    };
    link.put(value);
    link.end_body(outcome.share());
    link.begin_exit();
    let exit = code.await;
    lender.fail_as(link.failed_as());
    exit
}
