//! What a run needs of the runtime that it is on: here that of shuttle's threads.

use std::future::poll_fn;
use std::pin::Pin;
use std::runtime::{Handle, Spawned};
use std::sync::Arc;
use std::task::{Context, Poll, ready, yield_now};

use super::play::{Mode, Run};

/// A task that a program has spawned.
pub(super) type Task = Spawned;

pub(super) fn spawn(run: &Arc<Run>, future: impl Future<Output = ()> + Send + 'static) -> Task {
    let runtime = Handle::try_current();
    let runtime = runtime.expect("a program that spawns runs in a task");
    spawn_on(&runtime, run, future)
}

/// Spawns a task that may be aborted.
pub(super) fn spawn_on(
    runtime: &Handle,
    run: &Arc<Run>,
    future: impl Future<Output = ()> + Send + 'static,
) -> Task {
    runtime.spawn(Abortable {
        run: Arc::clone(run),
        future: Some(Box::pin(future)),
    })
}

/// A task. A panic of its drop is caught, as tokio does.
struct Abortable<F> {
    run: Arc<Run>,
    /// `None` once it has ended.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = ()>> Future for Abortable<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(());
        };
        ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(())
    }
}

impl<F> Drop for Abortable<F> {
    fn drop(&mut self) {
        self.run.drop_caught(self.future.take());
    }
}

/// Takes a while, so that other code has a turn.
pub(super) async fn pass(mode: Mode, length: u32) {
    if mode == Mode::NoRuntime {
        let mut left = length;
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        return;
    }
    for _ in 0..length {
        yield_now().await;
    }
}
