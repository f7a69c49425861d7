//! Tasks that do not outlive a block.

mod group;
mod handle;
mod spawn;
mod told;

use std::fmt;
use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::context::AsyncContext;
use crate::fallback;
use crate::generator::Named;
use crate::lender::Lender;
use crate::lock::lock;
use crate::outcome::Outcome;
use crate::time_limit::check_timer;

use group::{Group, NAME, Policy, Running};

pub use handle::TaskHandle;
pub use spawn::{Slot, Tasks};
pub use told::Told;

/// A context that spawns tasks, all of which have ended when the context has exited: a nursery,
/// Python's `asyncio.TaskGroup`.
///
/// When the body completes, exit waits for all tasks. When the body fails, panics or is cancelled,
/// exit aborts the tasks, and waits until they are gone. In both cases, exit also waits for the
/// exits of contexts that the tasks have left behind. Therefore a context around the group outlives
/// the tasks and their contexts.
///
/// ```
/// use async_context_manager::{contexts::tasks, prelude::*};
/// use std::io;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static SUM: AtomicU32 = AtomicU32::new(0);
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// tasks()
///     .with(async |tasks| {
///         for number in 1..=10 {
///             tasks.spawn(async move {
///                 tokio::task::yield_now().await;
///                 SUM.fetch_add(number, Ordering::Relaxed);
///                 Ok::<_, io::Error>(())
///             });
///         }
///         Ok(())
///     })
///     .await?;
/// assert_eq!(SUM.load(Ordering::Relaxed), 55);
/// # Ok(())
/// # }
/// ```
///
/// If the compiler cannot infer the error type, name it in the call: `tasks::<io::Error>()`.
///
/// The returned [`TaskGroup`] sets what happens when a task fails, how many tasks run at a time,
/// and how long they have at the end. The body's [`Tasks`] offers handles to the tasks' values, a
/// token that tells tasks to end, and tasks that end with the body.
///
/// The tasks run on the tokio runtime that the context was entered on. Without a runtime, they run
/// on a thread of this crate, like [detached](crate::detached) exits. Tasks that a runtime drops
/// when it shuts down are reported as [`Lost`](crate::report::Kind::Lost), if the body completed.
///
/// # Cancel safety
///
/// If the future is dropped during the body, the context aborts its tasks, and joins them. If it is
/// dropped while the exit joins the tasks of a completed body, the exit goes on in the background.
/// A task that never ends by itself must be told to end, by [`Tasks::told`].
///
/// # Errors
///
/// If the body completes, the error of the task that failed first. A task that fails does not stop
/// the others, unless the group [fails fast](TaskGroup::fail_fast). All other errors of tasks are
/// [reported](crate::report), each when it happens. If the body does not complete, the first error
/// is reported when the exit ends.
///
/// # Panics
///
/// If the body completes and a task panics. The first panic goes on after all tasks have ended;
/// other panics are reported. Enter panics if there is no runtime and the system cannot start a
/// thread for one, or if there is a [grace](TaskGroup::grace) and the runtime has no timer.
///
/// # Comparison
///
/// In Python's `TaskGroup`, an error of a task cancels the body and the other tasks. Here all of
/// them run to their end, unless the group [fails fast](TaskGroup::fail_fast).
pub fn tasks<E>() -> TaskGroup<E>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    TaskGroup(Named::new(Policy::default()))
}

/// The context that [`tasks`] returns, with the settings for its tasks.
///
/// ```
/// use async_context_manager::{contexts::tasks, prelude::*, TaskGroup};
/// use std::io;
/// use std::time::Duration;
///
/// fn workers() -> TaskGroup<io::Error> {
///     tasks().fail_fast().limit(10).grace(Duration::from_secs(5))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let all = workers().with(async |tasks| Ok(tasks.spawn_with_handle(async { Ok("done") }))).await?;
/// assert_eq!(all.await, Some("done"));
/// # Ok(())
/// # }
/// ```
#[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
pub struct TaskGroup<E: fmt::Debug + Send + Sync + 'static>(
    Named<'static, Policy, Tasks<E>, E, ()>,
);

impl<E: fmt::Debug + Send + Sync + 'static> TaskGroup<E> {
    /// Lets the first failure of a task end the body and all other tasks, as in Python's
    /// `asyncio.TaskGroup`.
    ///
    /// The error of that task goes to the caller, as if the body had failed with it. A panic of
    /// that task goes on in the caller. The other tasks are aborted at once, unless there is a
    /// [grace](Self::grace), and exit joins them. If these tasks fail meanwhile, their errors are
    /// [reported](crate::report). If no task has failed before, and one fails while exit waits for
    /// the tasks, the caller gets that error as well, and the other tasks are aborted likewise.
    ///
    /// The group ends the body by a future [beside](crate::guide::beside) the body. So the body
    /// drops at its next await. The body may also be the caller's own code, under a
    /// [`Guard`](crate::Guard). Then [`Guard::ended`](crate::Guard::ended) tells when the body has
    /// ended.
    ///
    /// ```
    /// use async_context_manager::{contexts::tasks, prelude::*};
    /// use std::future::pending;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let result = tasks()
    ///     .fail_fast()
    ///     .with(async |tasks| {
    ///         tasks.spawn(pending());
    ///         tasks.spawn(async { Err("no answer") });
    ///         pending::<Result<(), _>>().await
    ///     })
    ///     .await;
    /// assert_eq!(result, Err("no answer"));
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the group was entered before, by hand.
    pub fn fail_fast(self) -> Self {
        self.change(|policy| policy.fails_fast = true)
    }

    /// Limits how many tasks run at the same time; 0 counts as 1.
    ///
    /// [`Tasks::spawn`] does not wait: the task waits for its turn. [`Tasks::reserve`] waits, for a
    /// body that makes tasks faster than they end. Both wait in the same queue. A task joins the
    /// queue when the runtime first polls the task.
    ///
    /// ```
    /// use async_context_manager::{contexts::tasks, prelude::*};
    /// use std::time::Duration;
    /// use tokio::time::{Instant, sleep};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), &'static str> {
    /// let begun = Instant::now();
    /// tasks()
    ///     .limit(2)
    ///     .with(async |tasks| {
    ///         for _ in 0..6 {
    ///             tasks.spawn(async { Ok(sleep(Duration::from_secs(1)).await) });
    ///         }
    ///         Ok(())
    ///     })
    ///     .await?;
    /// assert_eq!(begun.elapsed().as_secs(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the group was entered before, by hand.
    pub fn limit(self, limit: usize) -> Self {
        self.change(|policy| policy.limit = Some(limit.max(1)))
    }

    /// Sets how long the tasks have to end by themselves once [`Tasks::told`] has told them to.
    /// Tasks that are left then are aborted and joined.
    ///
    /// The time begins when the token is told, however the body has ended. Without a grace, the
    /// tasks have unlimited time after a body that completed, and no time after any other body. If
    /// a grace cuts off tasks after a body that completed, that is
    /// [reported](crate::report::Kind::TimedOut).
    ///
    /// ```
    /// use async_context_manager::{contexts::tasks, prelude::*};
    /// use std::time::Duration;
    /// use tokio::time::{Instant, sleep};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let begun = Instant::now();
    /// let result = tasks()
    ///     .grace(Duration::from_secs(5))
    ///     .with(async |tasks| {
    ///         let told = tasks.told();
    ///         tasks.spawn(async move {
    ///             told.await;
    ///             sleep(Duration::from_secs(1)).await; // says goodbye
    ///             Ok(())
    ///         });
    ///         Err::<(), _>("no more work")
    ///     })
    ///     .await;
    /// assert_eq!(result, Err("no more work"));
    /// assert_eq!(begun.elapsed().as_secs(), 1);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the group was entered before, by hand.
    pub fn grace(self, grace: Duration) -> Self {
        self.change(|policy| policy.grace = Some(grace))
    }

    fn change(self, change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = self.0.into_arguments(NAME);
        change(&mut policy);
        Self(Named::new(policy))
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> AsyncContext for TaskGroup<E> {
    type Value = Tasks<E>;
    type Error = E;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<Tasks<E>, E> {
        self.0.enter(NAME, run).await
    }

    async fn beside(&mut self) -> Result<(), E> {
        self.0.beside(NAME).await
    }

    async fn exit(self, tasks: Tasks<E>, outcome: &Outcome) -> Result<(), E> {
        self.0.exit(NAME, tasks, outcome).await
    }

    fn __name(&self) -> &'static str {
        NAME
    }

    fn __coroutine(
        self,
        lender: Lender<Tasks<E>, E>,
    ) -> impl Future<Output = Result<(), E>> + Send {
        run(self.0.into_arguments(NAME), lender)
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup").finish_non_exhaustive()
    }
}

async fn run<E>(policy: Policy, lender: Lender<Tasks<E>, E>) -> Result<(), E>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    if policy.grace.is_some() {
        check_timer();
    }
    let runtime = Handle::try_current().ok().or_else(fallback::runtime);
    let runtime = runtime.expect("there is a runtime, or a thread for one");
    let group = Arc::new(Group::new(policy));
    let running = Arc::new(Mutex::new(Running::default()));
    let tasks = Tasks::new(runtime, Arc::clone(&group), Arc::clone(&running));
    let (tasks, outcome) = if policy.fails_fast {
        let link = lender.link();
        let has_a_body = move || link.has_a_body();
        let beside = async move { group.first_failure(&running, has_a_body).await };
        lender.yield_beside(tasks, beside).await
    } else {
        lender.yield_(tasks).await
    };
    // Taken from the value that came back: the body may have replaced the one that was lent.
    let (group, running, mut room) = tasks.into_parts();
    let running = mem::take(&mut *lock(&running));
    group.end(running, outcome.is_completed()).await;
    // The contexts that the tasks gave up are inside the room, and not directly inside this
    // context. Otherwise this exit would wait for those contexts before this code runs, while other
    // tasks still run.
    room.turn(NAME).come().await;
    let trouble = group.take_trouble();
    if outcome.is_completed() {
        return trouble.settle();
    }
    Ok(())
}
