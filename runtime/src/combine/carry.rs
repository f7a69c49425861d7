//! A context whose exit has what was attached to the task that entered it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::carry::{Carry, CarryError};
use crate::context::AsyncContext;
use crate::generator::generator;
use crate::report::drop_quietly;

pub(crate) fn carry<C: AsyncContext, K: Carry>(
    context: C,
    key: K,
) -> impl AsyncContext<Value = C::Value, Error = CarryError<C::Error>, Verdict = C::Verdict> {
    let name = context.__name();
    generator(name, async move |lender| {
        let Some(carried) = key.capture() else {
            drop_quietly(name, context);
            return Err(CarryError::NotSet);
        };
        let code = Box::pin(context.__coroutine(lender));
        let ended = Attached::<K, _> {
            name,
            carried,
            code: Some(code),
        };
        ended.await.map_err(CarryError::Context)
    })
}

/// Code that is polled, and dropped, with something attached.
struct Attached<K: Carry, F> {
    name: &'static str,
    carried: K::Carried,
    /// `None` when it has ended, or drops.
    code: Option<Pin<Box<F>>>,
}

impl<K: Carry, F> Unpin for Attached<K, F> {}

impl<K: Carry, F: Future> Future for Attached<K, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { carried, code, .. } = &mut *self;
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
        let (name, code) = (self.name, self.code.take());
        if code.is_some() {
            K::attach(&self.carried, || drop_quietly(name, code));
        }
    }
}
