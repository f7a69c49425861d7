//! The methods that spawn tasks.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::combine::tasks::group::{Group, Running};
use crate::combine::tasks::handle::TaskHandle;
use crate::combine::tasks::told::Told;
use crate::lock::lock;
use crate::order::Place;
use crate::scope::Inside;

/// The value of [`tasks`](crate::tasks()), which spawns the tasks.
///
/// ```
/// # use async_context_manager::{contexts::tasks, prelude::*};
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
    group: Arc<Group<E>>,
    running: Arc<Mutex<Running>>,
    /// The room: the place, in the order of contexts, that contains the tasks.
    room: Mutex<Place>,
}

impl<E: fmt::Debug + Send + Sync + 'static> Tasks<E> {
    pub(super) fn new(runtime: Handle, group: Arc<Group<E>>, running: Arc<Mutex<Running>>) -> Self {
        Self {
            runtime,
            group,
            running,
            room: Mutex::new(Place::room()),
        }
    }

    pub(super) fn into_parts(self) -> (Arc<Group<E>>, Arc<Mutex<Running>>, Place) {
        let room = self.room.into_inner();
        let room = room.unwrap_or_else(PoisonError::into_inner);
        (self.group, self.running, room)
    }

    /// Runs the future as a task. The context's exit waits for the task, or aborts it.
    ///
    /// A context that is used in the task is inside the context of [`tasks`](crate::tasks()). So if
    /// the task is aborted, the contexts around the group wait for the exit of that context.
    ///
    /// Under a [limit](crate::TaskGroup::limit) the task waits for its turn. This call does not
    /// wait, so the number of waiting tasks is unbounded; [`reserve`](Self::reserve) does wait. In
    /// a group that is [failing](crate::TaskGroup::fail_fast), the future drops, and never runs.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
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
        self.start(future, None);
    }

    /// Runs the future as a task, as [`spawn`](Self::spawn) does. Returns a future of the task's
    /// value.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let squares = tasks::<io::Error>()
    ///     .with(async |tasks| {
    ///         let square = |n: u32| tasks.spawn_with_handle(async move { Ok(n * n) });
    ///         Ok([1, 2, 3].map(square))
    ///     })
    ///     .await?;
    /// let mut sum = 0;
    /// for square in squares {
    ///     sum += square.await.expect("all tasks have ended well");
    /// }
    /// assert_eq!(sum, 14);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn_with_handle<F, T>(&self, future: F) -> TaskHandle<T>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let (handle, future) = with_handle(future);
        self.start(future, None);
        handle
    }

    /// Waits until the [limit](crate::TaskGroup::limit) allows one more task, and returns a slot
    /// that spawns the task. Without a limit, this method does not wait.
    ///
    /// A body that makes its tasks with this method has no more futures in memory than tasks that
    /// may run at a time.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// tasks::<io::Error>()
    ///     .limit(2)
    ///     .with(async |tasks| {
    ///         for _ in 0..10 {
    ///             tasks.reserve().await.spawn(async { Ok(tokio::task::yield_now().await) });
    ///             assert!(tasks.len() <= 2);
    ///         }
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it leaves the queue, and no task is spawned.
    pub async fn reserve(&self) -> Slot<'_, E> {
        let permit = self.group.slot().await;
        Slot {
            tasks: self,
            permit,
        }
    }

    /// Runs the future as a task that ends with the body, however the body ends. Exit aborts the
    /// task at once, and waits until it is gone.
    ///
    /// Use it for a task that never ends by itself, such as a loop that reads from a connection.
    /// Its failure counts like that of any other task. [`len`](Self::len) does not count the task,
    /// and the task takes no slot of a [limit](crate::TaskGroup::limit). Other tasks may still run
    /// after this task is gone. If they need this task, spawn it with [`spawn`](Self::spawn)
    /// instead, and let [`told`](Self::told) end it.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// tasks::<io::Error>()
    ///     .with(async |tasks| {
    ///         tasks.background(std::future::pending());
    ///         assert!(tasks.is_empty());
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    pub fn background<F>(&self, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        if self.group.is_failing() {
            return;
        }
        let task = self.task(future);
        self.group.sweep(&self.running);
        let mut running = lock(&self.running);
        running.background.spawn_on(task, &self.runtime);
    }

    /// Returns a token that is told when exit begins after the body or, in a group that [fails
    /// fast](crate::TaskGroup::fail_fast), when a task has failed. The token is told before any
    /// task is aborted.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// tasks::<io::Error>()
    ///     .with(async |tasks| {
    ///         let told = tasks.told();
    ///         assert!(!told.is_told());
    ///         tasks.spawn(async move { Ok(told.await) }); // a server, until it is told
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    pub fn told(&self) -> Told {
        Told::new(self.group.moment())
    }

    /// Returns the number of tasks that have not ended, including those that wait for their turn.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
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
        self.group.sweep(&self.running);
        lock(&self.running).tasks.len()
    }

    /// Returns `true` if every task has ended. A task that waits for its turn has not ended.
    /// Background tasks do not count.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
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

    fn start<F>(&self, future: F, permit: Option<OwnedSemaphorePermit>)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        if self.group.is_failing() {
            return;
        }
        let permit = permit.or_else(|| self.group.slot_now());
        let group = Arc::clone(&self.group);
        let task = self.task(future);
        let task = async move {
            let _slot = match permit {
                Some(permit) => Some(permit),
                None => group.slot().await,
            };
            if !group.is_failing() {
                task.await;
            }
        };
        self.group.sweep(&self.running);
        let mut running = lock(&self.running);
        running.tasks.spawn_on(task, &self.runtime);
    }

    /// Wraps the future so that it runs inside the room, and adds its failure to the group.
    fn task<F>(&self, future: F) -> impl Future<Output = ()> + Send + use<F, E>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let mut place = Place::inside_of(&lock(&self.room));
        let group = Arc::clone(&self.group);
        async move {
            let ended = Inside::new(&mut place, || future).await;
            group.add(ended);
        }
    }
}

fn with_handle<F, T, E>(
    future: F,
) -> (
    TaskHandle<T>,
    impl Future<Output = Result<(), E>> + Send + use<F, T, E>,
)
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
{
    let (send, value) = oneshot::channel();
    let future = async move {
        let value = future.await?;
        // If nobody waits for the value, it drops here.
        drop(send.send(value));
        Ok(())
    };
    (TaskHandle::new(value), future)
}

/// The right to spawn one task under a limit. [`Tasks::reserve`] returns it. If a slot drops
/// unused, the right goes to the next in the queue.
///
/// ```
/// # use async_context_manager::{contexts::tasks, prelude::*};
/// # use std::io;
/// use async_context_manager::Slot;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// tasks()
///     .limit(1)
///     .with(async |tasks| {
///         let slot: Slot<'_, io::Error> = tasks.reserve().await;
///         slot.spawn(async { Ok(()) });
///         Ok(())
///     })
///     .await
/// # }
/// ```
#[must_use = "a slot is there for a task: call `spawn` on it"]
pub struct Slot<'t, E: fmt::Debug + Send + Sync + 'static> {
    tasks: &'t Tasks<E>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<E: fmt::Debug + Send + Sync + 'static> Slot<'_, E> {
    /// Runs the future as a task, as [`Tasks::spawn`] does.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), &'static str> {
    /// let body = async |tasks: &mut async_context_manager::Tasks<_>| {
    ///     tasks.reserve().await.spawn(async { Ok(()) });
    ///     Ok(tasks.len())
    /// };
    /// assert_eq!(tasks().limit(1).with(body).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn<F>(self, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.tasks.start(future, self.permit);
    }

    /// Runs the future as a task, as [`Tasks::spawn_with_handle`] does.
    ///
    /// ```
    /// # use async_context_manager::{contexts::tasks, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), &'static str> {
    /// let body = async |tasks: &mut async_context_manager::Tasks<_>| {
    ///     Ok(tasks.reserve().await.spawn_with_handle(async { Ok(42) }))
    /// };
    /// assert_eq!(tasks().limit(1).with(body).await?.await, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn_with_handle<F, T>(self, future: F) -> TaskHandle<T>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let (handle, future) = with_handle(future);
        self.tasks.start(future, self.permit);
        handle
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> fmt::Debug for Slot<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> fmt::Debug for Tasks<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("running", &lock(&self.running).tasks.len())
            .finish_non_exhaustive()
    }
}
