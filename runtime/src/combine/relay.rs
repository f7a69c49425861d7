//! A context that is used as a part of another one, whose value is made of that of the part.

use std::future::poll_fn;
use std::pin::pin;

use crate::context::{AsyncContext, Verdict};
use crate::coroutine::settle_enter;
use crate::exchange::Link;
use crate::lender::{Lender, OFFERED};
use crate::report::{self, Kind};

/// Runs a context that lends another value as a part of the lender's: `there` makes ours of its
/// value, and `back` its value of ours. Where that gives `None` its exit can't run.
pub(crate) async fn relay<V, C: AsyncContext>(
    lender: &Lender<V>,
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
    let (value, outcome) = lender.yield_(there(value)).await;
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
