//! A context with a time limit for its exit.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use crate::context::AsyncContext;
use crate::generator::generator;
use crate::order::Begin;
use crate::report::drop_quietly;
use crate::time_limit::{check_timer, within};
use crate::timeout_error::{Phase, TimeoutError};

pub(crate) fn exit_timeout<C: AsyncContext>(
    context: C,
    after: Duration,
) -> impl AsyncContext<Value = C::Value, Error = TimeoutError<C::Error>, Verdict = C::Verdict> {
    let name = context.__name();
    generator(name, async move |lender| {
        check_timer();
        let link = lender.link();
        link.limit();
        let mut code = Box::pin(context.__coroutine(lender.for_other_errors()));
        // Covers all polls before the first poll of exit: the polls of enter, and the polls of the
        // future beside the body.
        let entering = poll_fn(|cx| {
            if link.is_exiting() {
                return Poll::Ready(None);
            }
            let polled = code.as_mut().poll(cx);
            link.convert_end(TimeoutError::<C::Error>::Context);
            polled.map(Some)
        });
        if let Some(ended) = entering.await {
            return ended.map_err(TimeoutError::Context);
        }
        let begin = Begin::now();
        if let Some(ended) = within(after, code.as_mut()).await {
            return ended.map_err(TimeoutError::Context);
        }
        drop_quietly(name, code);
        begin.cut_off();
        link.cut_off();
        let phase = Phase::Exit;
        Err(TimeoutError::Elapsed { phase, after })
    })
}
