//! The token that tells tasks to end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio::time::Instant;

/// A token that is told when a group of [`tasks`](crate::tasks) must end.
/// [`Tasks::told`](crate::Tasks::told) returns it.
///
/// The token is a future, for a `select!`. Its clones are told at the same time. The token borrows
/// nothing, so a task can own it.
///
/// ```
/// use async_context_manager::{contexts::tasks, prelude::*, Told};
/// use std::io;
/// use std::time::Duration;
/// use tokio::time::sleep;
///
/// async fn serve(told: Told) -> io::Result<()> {
///     while !told.is_told() {
///         tokio::select! {
///             () = told.clone() => {}
///             () = sleep(Duration::from_secs(60)) => {} // one request
///         }
///     }
///     Ok(()) // after a goodbye to the client
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// tasks().with(async |tasks| Ok(tasks.spawn(serve(tasks.told())))).await
/// # }
/// ```
#[must_use = "a token is awaited, or asked"]
pub struct Told {
    moment: watch::Receiver<Option<Instant>>,
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Told {
    pub(super) fn new(moment: watch::Receiver<Option<Instant>>) -> Self {
        Self { moment, wait: None }
    }

    /// Returns `true` if the tasks must end, or if their group is gone.
    ///
    /// ```
    /// use async_context_manager::{contexts::tasks, prelude::*};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let told = tasks::<std::io::Error>()
    ///     .with(async |tasks| {
    ///         assert!(!tasks.told().is_told());
    ///         Ok(tasks.told())
    ///     })
    ///     .await?;
    /// assert!(told.is_told());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.moment.borrow().is_some() || self.moment.has_changed().is_err()
    }
}

impl Future for Told {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_told() {
            return Poll::Ready(());
        }
        let mut moment = self.moment.clone();
        let wait = self.wait.get_or_insert_with(|| {
            Box::pin(async move {
                // An error means that the group is gone.
                moment.wait_for(Option::is_some).await.map(drop).ok();
            })
        });
        wait.as_mut().poll(cx)
    }
}

impl Clone for Told {
    fn clone(&self) -> Self {
        Self::new(self.moment.clone())
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told")
            .field("is_told", &self.is_told())
            .finish_non_exhaustive()
    }
}
