//! The value of a task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// A future of a task's value. It gives `None` if the task failed, panicked, or was aborted.
/// [`Tasks::spawn_with_handle`](crate::Tasks::spawn_with_handle) returns it.
///
/// The task's failure goes to the group, not to the handle. If the handle drops, the task goes on,
/// and its value drops when the task ends. The handle may also be awaited after the group has
/// exited:
///
/// ```
/// use async_context_manager::{contexts::tasks, prelude::*, TaskHandle};
/// use std::io;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let answer: TaskHandle<u32> = tasks::<io::Error>()
///     .with(async |tasks| Ok(tasks.spawn_with_handle(async { Ok(42) })))
///     .await?;
/// assert_eq!(answer.await, Some(42));
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// If the future is polled again after it has returned the value.
#[must_use = "`spawn` is for a task whose value nobody needs"]
pub struct TaskHandle<T>(oneshot::Receiver<T>);

impl<T> TaskHandle<T> {
    pub(super) fn new(value: oneshot::Receiver<T>) -> Self {
        Self(value)
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").finish_non_exhaustive()
    }
}
