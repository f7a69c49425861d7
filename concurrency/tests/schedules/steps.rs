//! The parts that the stories are made of.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Notify;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::block_on;

use crate::context::AsyncContext;
use crate::detached;
use crate::failure::Failure;
use crate::fallback;
use crate::ledger::{Ledger, Trouble};
use crate::report;
use crate::scope::{self, Live};

/// Tells the story under each schedule, and waits at its end until no exit is left in the
/// background.
pub(crate) fn tell(story: impl Fn(&Ledger) + Copy + Send + Sync + 'static) {
    std::check(move || {
        let ledger = Ledger::default();
        ledger.hook();
        story(&ledger);
        block_on(detached::drain());
        fallback::reset();
        report::reset_hook();
    });
}

/// A gate that opens once, for all that wait.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<(AtomicBool, Notify)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new((AtomicBool::new(false), Notify::new())))
    }

    pub(crate) fn open(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    pub(crate) async fn opened(&self) {
        let opening = self.0.1.notified();
        if !self.is_open() {
            opening.await;
        }
    }
}

/// Uses the context as `with` does.
pub(crate) async fn with<C, B>(context: C, body: B) -> Result<(), Trouble>
where
    C: AsyncContext<Value = (), Error = Trouble, Verdict = ()> + 'static,
    B: Future<Output = Result<(), Trouble>>,
{
    scope::run(
        context,
        Live::new_inside,
        async |(): &mut ()| body.await,
        Failure::reporting,
    )
    .await
}

/// A context in use, whose body does not end.
pub(crate) type InUse = Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send>>;

/// Enters the context, here and now.
pub(crate) async fn in_use<C>(context: C) -> InUse
where
    C: AsyncContext<Value = (), Error = Trouble, Verdict = ()> + 'static,
{
    let is_in_body = Gate::new();
    let gate = is_in_body.clone();
    let body = async move {
        gate.open();
        pending().await
    };
    let mut used: InUse = Box::pin(with(context, body));
    poll_fn(|cx| {
        let polled = used.as_mut().poll(cx);
        assert!(polled.is_pending(), "its body does not end");
        if is_in_body.is_open() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    used
}
