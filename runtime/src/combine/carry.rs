//! A context whose exit has the value that was attached to the task that entered the context.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::carry::{Carry, CarryError};
use crate::context::AsyncContext;
use crate::converted::Converted;
use crate::generator::generator;
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
        let mut attached = Attached::<K, _> {
            name,
            carried: Some(carried),
            code: None,
        };
        let link = lender.link();
        let code = context.take().__coroutine(lender.for_other_errors());
        attached.code = Some(Box::pin(code));
        Converted::new(name, attached, link, |error| Ok(CarryError::Context(error))).await
    })
}

/// Code that is polled and dropped while something is attached.
struct Attached<K: Carry, F> {
    name: &'static str,
    /// `Some` until this drops.
    carried: Option<K::Carried>,
    /// `None` when the code has ended, or drops.
    code: Option<Pin<Box<F>>>,
}

impl<K: Carry, F> Unpin for Attached<K, F> {}

impl<K: Carry, F: Future> Future for Attached<K, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { carried, code, .. } = &mut *self;
        let carried = carried.as_ref().expect("only the drop takes it");
        K::attach(carried, || {
            let running = code.as_mut().expect("it is polled until it has ended");
            let polled = running.as_mut().poll(cx);
            if polled.is_ready() {
                *code = None;
            }
            polled
        })
    }
}

impl<K: Carry, F> Drop for Attached<K, F> {
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
