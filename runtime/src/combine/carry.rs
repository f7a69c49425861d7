//! A context whose exit has the value that was attached to the task that entered the context.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::carry::{Carry, CarryError};
use crate::context::AsyncContext;
use crate::converted::Converted;
use crate::exchange::Link;
use crate::generator::generator;
use crate::panic::resume;
use crate::report::{self, Apart, Kind, drop_quietly};

pub(crate) fn carry<C: AsyncContext, K: Carry>(
    context: C,
    key: K,
) -> impl AsyncContext<Value = C::Value, Error = CarryError<C::Error>, Verdict = C::Verdict> {
    let name = context.__name();
    generator(name, async move |lender| {
        // The user's code captures, attaches and drops the value, and each of these steps may
        // panic.
        let context = Apart::new(name, context);
        let Some(carried) = key.capture() else {
            return Err(CarryError::NotSet);
        };
        let link = lender.link();
        let mut attached = Attached::<K, _, _> {
            name,
            link: Arc::clone(&link),
            carried: Some(carried),
            code: None,
        };
        let code = context.take().__coroutine(lender.for_other_errors());
        attached.code = Some(Box::pin(code));
        Converted::new(attached, link, CarryError::Context).await
    })
}

/// Code that is polled and dropped while something is attached.
struct Attached<K: Carry, V, F> {
    name: &'static str,
    link: Link<V>,
    /// `None` once this drops, or once an attachment has panicked and the poll went on without it.
    carried: Option<K::Carried>,
    /// `None` when the code has ended, or drops.
    code: Option<Pin<Box<F>>>,
}

impl<K: Carry, V, F> Unpin for Attached<K, V, F> {}

impl<K: Carry, V, F: Future> Future for Attached<K, V, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self {
            name,
            link,
            carried,
            code,
        } = &mut *self;
        let mut poll = || {
            let running = code.as_mut().expect("it is polled until it has ended");
            let polled = running.as_mut().poll(cx);
            if polled.is_ready() {
                *code = None;
            }
            polled
        };
        let Some(attached) = carried else {
            return poll();
        };
        // The code's own panic is caught apart from a panic of the attachment.
        let mut polled = None;
        let attach = || {
            K::attach(attached, || {
                polled = Some(catch_unwind(AssertUnwindSafe(&mut poll)));
            });
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(attach)) {
            // An enter does not go on without the value. An exit does, because it must run.
            if let None | Some(Ok(Poll::Pending)) = polled {
                if !link.has_yielded() {
                    resume_unwind(payload);
                }
            }
            report::panic(name, Kind::Panicked, payload);
            drop_quietly(name, carried.take());
        }
        resume(polled.unwrap_or_else(|| Ok(poll())))
    }
}

impl<K: Carry, V, F> Drop for Attached<K, V, F> {
    fn drop(&mut self) {
        let (name, mut code) = (self.name, self.code.take());
        if let (Some(carried), true) = (&self.carried, code.is_some()) {
            let drop_attached = || K::attach(carried, || drop_quietly(name, code.take()));
            if let Err(payload) = catch_unwind(AssertUnwindSafe(drop_attached)) {
                report::panic(name, Kind::Panicked, payload);
            }
        }
        drop_quietly(name, code);
        drop_quietly(name, self.carried.take());
    }
}
