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

/// A context whose value spawns tasks, none of which is left when it has exited: a nursery,
/// Python's `asyncio.TaskGroup`.
///
/// When the body completes, exit waits for all tasks. When it fails, panics or is cancelled, exit
/// aborts them, and waits until they are gone. Either way it also waits for the exits of contexts
/// that the tasks have left behind; so what is opened around the tasks outlives them, and what they
/// do.
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
/// Where the tasks' errors do not say what the error is, the call does: `tasks::<io::Error>()`.
///
/// What the group does when a task fails, how many tasks run at a time, and how long they have at
/// the end is set on the [`TaskGroup`] that this gives. What the tasks give, what tells them to
/// end, and a task that ends with the body, come from its value, [`Tasks`].
///
/// The tasks run on the tokio runtime that the context was entered on; where there is none, on a
/// thread of this crate, like [detached](crate::detached) exits. Those that a runtime throws away
/// when it shuts down are reported as [`Lost`](crate::report::Kind::Lost), where the body
/// completed.
///
/// # Cancel safety
///
/// Dropped in its body, the context aborts its tasks, and joins them. Dropped while its exit joins
/// them after a body that completed, it goes on joining them in the background, as every exit goes
/// on: a task that never ends by itself has to be told to, by [`Tasks::told`].
///
/// # Errors
///
/// When the body completes, the first error of a task, in time. One that fails does not stop the
/// others, unless the group [fails fast](TaskGroup::fail_fast). All other errors of tasks are
/// [reported](crate::report), each when it happens.
///
/// # Panics
///
/// With the first panic of a task, after all have ended, when the body completes; others are
/// reported. In enter, where there is no runtime, and the system has no thread for one; and where
/// there is a [grace](TaskGroup::grace), and a runtime without a timer.
///
/// # Comparison
///
/// Unlike in a `TaskGroup` of Python, an error of a task does not cancel the body, or its siblings:
/// they all come to their end. With [`fail_fast`](TaskGroup::fail_fast) it does.
pub fn tasks<E>() -> TaskGroup<E>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    TaskGroup(Named::new(Policy::default()))
}

/// The context that [`tasks`] gives, and how it treats its tasks.
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
    /// The first task that fails ends the body, and all other tasks: Python's `asyncio.TaskGroup`.
    ///
    /// Its error goes to the caller, as if the body had failed with it; its panic goes on in the
    /// caller. The other tasks are aborted at once and joined by exit; what they fail with
    /// meanwhile is [reported](crate::report). The task may fail while exit waits for the tasks,
    /// too.
    ///
    /// The body is ended from [beside](crate::guide::beside): it drops at its next await. Where the
    /// body is the caller's own code, under a [`Guard`](crate::Guard),
    /// [`Guard::ended`](crate::Guard::ended) tells.
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
    /// If it was entered before, by hand.
    pub fn fail_fast(self) -> Self {
        self.change(|policy| policy.fails_fast = true)
    }

    /// No more than so many tasks run at the same time; 0 counts as 1.
    ///
    /// [`Tasks::spawn`] does not wait: where there is no room, the task does. [`Tasks::reserve`]
    /// waits, for a body that makes tasks faster than they end. They wait in one queue. A task
    /// joins the queue when the runtime first polls it.
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
    /// If it was entered before, by hand.
    pub fn limit(self, limit: usize) -> Self {
        self.change(|policy| policy.limit = Some(limit.max(1)))
    }

    /// How long the tasks have to end by themselves when [`Tasks::told`] has told them to. Those
    /// that are left then are aborted and joined.
    ///
    /// The grace counts from the moment at which the token is told, and however the body has ended.
    /// Without this, there is no limit to it after a body that completed, and none is given after
    /// any other. Where the tasks of a body that completed are cut off so, that is
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
    /// If it was entered before, by hand.
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
        let beside = async move { group.first_failure(&running).await };
        lender.yield_beside(tasks, beside).await
    } else {
        lender.yield_(tasks).await
    };
    // Of these tasks: a body may have put others in the place of those that were lent.
    let (group, running, mut room) = tasks.into_parts();
    let running = mem::take(&mut *lock(&running));
    group.end(running, outcome.is_completed()).await;
    // They are not in the list of this context itself: the wait before this code would be
    // for exits of tasks that are still running.
    room.turn(NAME).come().await;
    let trouble = group.take_trouble();
    if outcome.is_completed() {
        return trouble.settle();
    }
    Ok(())
}
