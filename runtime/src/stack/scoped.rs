//! A stack with its body: [`ExitStack::scope`].
//!
//! The scope polls the futures beside the body of its stack. The body has the stack by `&mut`, and
//! may put another one in its place. After [`ExitStack::take`] and [`ExitStack::extend`], the scope
//! polls the futures of the stack that is in this place now. `std::mem::take` tells the scope
//! nothing. Until the body ends, the scope polls the futures of the stack that was moved away. Then
//! tasks do.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::body::Body as AsyncBody;
use crate::context::Verdict;
use crate::coroutine::report_late;
use crate::driven::Drivers;
use crate::exchange::End;
use crate::fairness::Fairness;
use crate::lock::lock;
use crate::observe::Watch;
use crate::order::{Kind as Hold, Place};
use crate::outcome::BodyError;
use crate::panic::{catch, resume};
use crate::scope::Inside;
use crate::settle::Body;

use super::{ExitStack, NAME, Shared};

/// Runs the body with a new stack, and then exits the stack.
pub(super) async fn run<R, E, D>(
    body: impl for<'a> AsyncBody<&'a mut ExitStack<E, D>, Result<R, E>>,
) -> Result<D::Output<R>, E>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    // The contexts that the body enters must be inside this place, not neighbours of what other
    // code enters.
    let mut around = Place::new(Hold::With, Watch::default());
    let scope = Inside::new(&mut around, || async {
        let mut stack = ExitStack::empty(Drivers::polled());
        let body = run_body(&mut stack, body).await;
        stack.end(body).await
    });
    let ended = resume(scope.await);
    ended.map_err(|failure| failure.into_primary_reporting(NAME))
}

async fn run_body<R, E, D>(
    stack: &mut ExitStack<E, D>,
    body: impl for<'a> AsyncBody<&'a mut ExitStack<E, D>, Result<R, E>>,
) -> Body<R, E>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    let mut polled = Polled::new(stack);
    let (body, ended_by) = {
        let mut running = pin!(Some(catch(async { body(stack).await })));
        let mut fairness = Fairness::default();
        poll_fn(|cx| {
            let mut end = Poll::Pending;
            if fairness.is_second_first() {
                end = polled.poll(cx);
            }
            if end.is_pending() {
                let body = running.as_mut().as_pin_mut();
                let body = body.expect("it is polled until it has ended");
                if let Poll::Ready(result) = body.poll(cx) {
                    return Poll::Ready((Body::caught(result), None));
                }
                fairness.first_was_polled();
                end = polled.poll(cx);
            }
            let (number, end) = ready!(end);
            let dropped = catch_unwind(AssertUnwindSafe(|| running.set(None)));
            Poll::Ready(match dropped {
                Ok(()) => (Body::from(end), Some(number)),
                Err(payload) => {
                    report_late(NAME, end);
                    (Body::Panicked(payload), None)
                }
            })
        })
        .await
    };
    polled.follow();
    if !polled.is(stack) {
        return stack.ended_from_beside(body);
    }
    if let Some(number) = ended_by {
        let _ = stack.shared.ended_by.set(number);
    }
    polled.goes_on();
    body
}

/// The stack whose futures beside the body the scope polls. When this drops, tasks poll them,
/// unless the exit of the stack does.
struct Polled<E: fmt::Debug + Send + Sync + 'static, D: Verdict> {
    first: Arc<Shared<E, D>>,
    /// `Some` if another stack has taken the place of the first one.
    now: Option<Arc<Shared<E, D>>>,
    is_over: bool,
}

impl<E: fmt::Debug + Send + Sync + 'static, D: Verdict> Polled<E, D> {
    fn new(stack: &ExitStack<E, D>) -> Self {
        Self {
            first: Arc::clone(&stack.shared),
            now: None,
            is_over: true,
        }
    }

    fn shared(&self) -> &Arc<Shared<E, D>> {
        self.now.as_ref().unwrap_or(&self.first)
    }

    fn is(&self, stack: &ExitStack<E, D>) -> bool {
        Arc::ptr_eq(self.shared(), &stack.shared)
    }

    /// Goes on with the stack that has taken the place of the one before. Returns `false` if there
    /// is none.
    #[inline]
    fn follow(&mut self) -> bool {
        if !self.first.drivers.is_used() {
            return false;
        }
        let Some(next) = lock(&self.first.next).stack.take() else {
            return false;
        };
        self.now = Some(next);
        true
    }

    /// Returns `true` if no other scope has taken the stack over.
    fn is_still_here(&self) -> bool {
        match &*lock(&self.shared().first) {
            None => Arc::ptr_eq(self.shared(), &self.first),
            Some(first) => Arc::ptr_eq(first, &self.first),
        }
    }

    /// Returns `Ready` with the end of the body, and the number of the entry whose future has ended
    /// the body.
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(u64, End<BodyError>)> {
        // The waker comes first: if another task then adds a driver, or puts another stack in the
        // place of this one, this poll either sees that, or is followed by another poll.
        self.shared().drivers.note_poller(cx);
        while self.follow() {
            self.shared().drivers.note_poller(cx);
        }
        let shared = self.shared();
        if !shared.drivers.poll(cx) {
            return Poll::Pending;
        }
        // The end may be missing: the entry may have been released meanwhile, and then its release
        // takes the end.
        shared.take_end().map_or(Poll::Pending, Poll::Ready)
    }

    /// Leaves the futures to the exit of the stack, which polls them.
    #[inline]
    fn goes_on(mut self) {
        self.is_over = false;
    }
}

impl<E: fmt::Debug + Send + Sync + 'static, D: Verdict> Drop for Polled<E, D> {
    #[inline]
    fn drop(&mut self) {
        if self.is_over {
            // From now on, no other stack takes the place of this one.
            lock(&self.first.next).is_over = true;
            self.follow();
            if self.is_still_here() {
                self.shared().leave_scope();
                self.shared().drivers.spawn();
            }
        } else if self.first.drivers.is_used() {
            self.shared().leave_scope();
        }
    }
}
