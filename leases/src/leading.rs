//! Work that is done by one process at a time.

use std::fmt;

use async_context_manager::generator::generator;
use async_context_manager::{AsyncContextExt as _, Failure, SendBody};
use tokio::time::{Instant, sleep_until};

use crate::acquire::{Acquire, lease};
use crate::error::LeaseError;
use crate::lease::Lease;
use crate::store::Store;

/// Runs the work whenever this process leads, until the work ends by itself.
///
/// Waits until this process has the lease of that name, and calls the work. If the leadership is
/// lost, the work drops, and is called again when this process leads again. If the store fails, the
/// process asks again after a pause. The first error of such a series is
/// [reported](async_context_manager::report).
///
/// The work is cloned for each attempt to lead: a closure that owns only clones of handles is
/// `Clone`. For other settings of the lease, use [`Acquire::leading`].
///
/// ```
/// use async_context_leases::{MemoryStore, leading};
/// use std::time::Duration;
/// use tokio::time::sleep;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let store = MemoryStore::new();
/// let server = store.clone();
/// let work = async move |lease: &mut async_context_leases::Lease| {
///     if lease.token() == 1 {
///         server.forget("leader"); // the store loses the first term
///     }
///     sleep(Duration::from_secs(60)).await;
///     Ok(lease.token())
/// };
/// assert_eq!(leading(store, "leader", work).await, Ok(2));
/// # }
/// ```
///
/// # Errors
///
/// The error that the work ends with, unless it is [`LeaseError::Lost`]. If the release after the
/// work fails, its error is [reported](async_context_manager::report), and the result of the work
/// counts.
///
/// # Cancel safety
///
/// If the future is dropped, the work drops, and the lease is released.
pub async fn leading<S, R, W>(
    store: S,
    name: impl Into<String> + Send,
    work: W,
) -> Result<R, LeaseError<S::Error>>
where
    S: Store,
    R: Send,
    W: for<'a> SendBody<&'a mut Lease, Result<R, LeaseError<S::Error>>> + Clone,
{
    lease(store, name).leading(work).await
}

impl<S: Store> Acquire<S> {
    /// Like the function [`leading`], with the settings of this context. Fails with
    /// [`LeaseError::Held`] if a [limit](Acquire::wait_at_most) is set, and others lead for longer
    /// than this limit.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, lease};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let terms = lease(MemoryStore::new(), "leader").ttl(Duration::from_secs(30));
    /// let work = async |lease: &mut async_context_leases::Lease| Ok(lease.token());
    /// assert_eq!(terms.leading(work).await, Ok(1));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for the function, and [`LeaseError::Held`].
    pub async fn leading<R, W>(mut self, work: W) -> Result<R, LeaseError<S::Error>>
    where
        R: Send,
        W: for<'a> SendBody<&'a mut Lease, Result<R, LeaseError<S::Error>>> + Clone,
    {
        let mut is_failing = false;
        loop {
            let begun = Instant::now();
            let term = self.again().ignore_exit_errors();
            match term.try_with(work.clone()).await {
                Ok(result) | Err(Failure::Exit { value: result, .. }) => return Ok(result),
                Err(Failure::Enter(error @ (LeaseError::Store(_) | LeaseError::NoAnswer))) => {
                    if !is_failing {
                        tell(error).await;
                    }
                    is_failing = true;
                }
                Err(
                    Failure::Body(LeaseError::Lost)
                    | Failure::BodyAndExit {
                        body: LeaseError::Lost,
                        ..
                    },
                ) => is_failing = false,
                Err(failure) => return Err(failure.into_primary()),
            }
            // Without this pause, the loop would be hot if the store fails, or loses the lease, at
            // once.
            sleep_until(begun + self.longest_pause()).await;
        }
    }
}

/// Reports an error that no caller gets, as the error of an exit.
async fn tell<E: fmt::Debug + Send + Sync + 'static>(error: E) {
    let telling = generator("async_context_leases::leading", async move |lender| {
        lender.yield_(()).await;
        Err::<(), E>(error)
    });
    let told = telling.ignore_exit_errors().with(async |()| Ok(())).await;
    debug_assert!(told.is_ok(), "the error was reported");
}
