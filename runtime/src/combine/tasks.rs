//! Tasks that do not outlive a block.

use std::fmt;
use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};

use crate::combine::trouble::Trouble;
use crate::context::AsyncContext;
use crate::fallback;
use crate::generator::generator;
use crate::order::Place;
use crate::panic::Payload;
use crate::report::{self, Failing, Kind};
use crate::scope::Inside;

/// A context whose value spawns tasks, none of which is left when it has exited: a nursery, Python's
/// `asyncio.TaskGroup`.
///
/// When the body completes, exit waits for all tasks. When it fails, panics or is cancelled, exit aborts
/// them, and waits until they are gone. Either way it also waits for the exits of contexts that the
/// tasks have left behind; so what is opened around the tasks outlives them, and what they do.
///
/// ```
/// use async_context_manager::prelude::*;
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
/// The tasks run on the tokio runtime that the context was entered on; where there is none, on a thread
/// of this crate, like [detached](crate::detached) exits. Those that a runtime throws away when it
/// shuts down are reported as [`Lost`](Kind::Lost), where the body completed.
///
/// # Cancel safety
///
/// Dropped in its body, the context aborts its tasks, and joins them. Dropped while its exit joins them
/// after a body that completed, it goes on joining them in the background, as every exit goes on: a task
/// that never ends by itself has to be told to, by a channel or a token of the program's.
///
/// # Errors
///
/// When the body completes, the first error of a task, in time. One that fails does not stop the others: that
/// is up to the body. All other errors of tasks are [reported](crate::report), each when it happens.
///
/// # Panics
///
/// With the first panic of a task, after all have ended, when the body completes; others are
/// reported. In enter, where there is no runtime, and the system has no thread for one.
///
/// # Comparison
///
/// Unlike in a `TaskGroup`, an error of a task does not cancel the body, or its siblings: they all
/// come to their end.
pub fn tasks<E>() -> impl AsyncContext<Value = Tasks<E>, Error = E, Verdict = ()>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    generator(NAME, async move |lender| -> Result<(), E> {
        let runtime = Handle::try_current().ok().or_else(fallback::runtime);
        let runtime = runtime.expect("there is a runtime, or a thread for one");
        let tasks = Tasks {
            runtime,
            group: Mutex::new(Group {
                set: JoinSet::new(),
                trouble: Arc::new(Mutex::new(Trouble::new())),
                room: Place::room(),
            }),
        };
        let (tasks, outcome) = lender.yield_(tasks).await;
        let group = tasks.group.into_inner();
        let mut group = group.unwrap_or_else(PoisonError::into_inner);
        if !outcome.is_completed() {
            group.set.abort_all();
        }
        while let Some(ended) = group.set.join_next().await {
            group.note(ended, outcome.is_completed());
        }
        // They are not in the list of this context itself: the wait before this code would be
        // for exits of tasks that are still running.
        group.room.turn(NAME).come().await;
        let trouble = mem::replace(&mut *lock(&group.trouble), Trouble::new());
        if outcome.is_completed() {
            return trouble.settle();
        }
        Ok(())
    })
}

/// The name in reports.
const NAME: &str = "async_context_manager::tasks";

const FAILING: Failing = Failing {
    context: NAME,
    kind: Kind::ExitFailed,
};

/// The value of [`tasks`]: what spawns them.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let answer = tasks::<io::Error>()
///     .with(async |tasks| {
///         tasks.spawn(async { Ok(()) });
///         Ok(tasks.len())
///     })
///     .await?;
/// assert_eq!(answer, 1);
/// # Ok(())
/// # }
/// ```
pub struct Tasks<E: fmt::Debug + Send + Sync + 'static> {
    runtime: Handle,
    group: Mutex<Group<E>>,
}

struct Group<E: fmt::Debug + Send + Sync + 'static> {
    set: JoinSet<()>,
    /// Of tasks that have ended. They add to it themselves: what has happened is told when it happens, and
    /// what one group keeps does not grow.
    trouble: Arc<Mutex<Trouble<E>>>,
    /// What the tasks are inside of.
    room: Place,
}

impl<E: fmt::Debug + Send + Sync + 'static> Tasks<E> {
    /// Runs the future as a task, which the context's exit waits for, or aborts.
    ///
    /// A context that is used in the task is inside of the one of [`tasks`]: where the task is aborted, its
    /// exit has ended before the exits of contexts around begin.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let result = tasks()
    ///     .with(async |tasks| {
    ///         tasks.spawn(async { Err(io::Error::from(io::ErrorKind::NotFound)) });
    ///         Ok(())
    ///     })
    ///     .await;
    /// assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let mut group = self.group();
        // What has ended leaves nothing behind.
        while let Some(ended) = group.set.try_join_next() {
            group.note(ended, true);
        }
        let mut place = Place::inside_of(&group.room);
        let trouble = Arc::clone(&group.trouble);
        let task = async move {
            let ended = Inside::new(&mut place, || future).await;
            add(&trouble, ended);
        };
        group.set.spawn_on(task, &self.runtime);
    }

    /// How many tasks are running.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// tasks::<io::Error>()
    ///     .with(async |tasks| {
    ///         tasks.spawn(std::future::pending());
    ///         assert_eq!(tasks.len(), 1);
    ///         Err::<(), _>(io::Error::from(io::ErrorKind::TimedOut)) // which aborts it
    ///     })
    ///     .await
    ///     .unwrap_err();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        let mut group = self.group();
        while let Some(ended) = group.set.try_join_next() {
            group.note(ended, true);
        }
        group.set.len()
    }

    /// Returns `true` if no task is running.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// tasks::<io::Error>().with(async |tasks| Ok(assert!(tasks.is_empty()))).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn group(&self) -> MutexGuard<'_, Group<E>> {
        lock(&self.group)
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> Group<E> {
    fn note(&mut self, ended: Result<(), JoinError>, is_awaited: bool) {
        let Err(error) = ended else { return };
        match error.try_into_panic() {
            // Of what the task held, when it was dropped.
            Ok(payload) => add(&self.trouble, Err(payload)),
            Err(_) if is_awaited => report::plain(NAME, Kind::Lost),
            Err(_) => {}
        }
    }
}

fn add<E: fmt::Debug + Send + Sync + 'static>(
    trouble: &Mutex<Trouble<E>>,
    ended: Result<Result<(), E>, Payload>,
) {
    let rest = lock(trouble).add_first(FAILING, ended);
    // Reported without the lock: the hook is the user's.
    drop(rest);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: fmt::Debug + Send + Sync + 'static> fmt::Debug for Tasks<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("running", &self.group().set.len())
            .finish_non_exhaustive()
    }
}
