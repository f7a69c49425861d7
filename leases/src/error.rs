//! What goes wrong with a lease.

use thiserror::Error;

/// What can go wrong with a lease. `E` is the error of the [`Store`](crate::Store).
///
/// ```
/// use async_context_leases::{LeaseError, MemoryStore, lease, try_lease};
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let store = MemoryStore::new();
/// let held = lease(store.clone(), "report").guard().await.unwrap();
/// let second = try_lease(store, "report").with(async |_| Ok(())).await;
/// assert_eq!(second, Err(LeaseError::Held));
/// Guard::close(held).await.unwrap();
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LeaseError<E> {
    /// Others had the lease for as long as the caller was willing to wait.
    #[error("others hold the lease")]
    Held,
    /// The holder can no longer be sure of having the lease. The body was ended.
    #[error("the lease was lost before the work was done")]
    Lost,
    /// The store took too long to answer.
    #[error("the store of the lease has not answered in time")]
    NoAnswer,
    /// The store failed.
    #[error("the store of the lease failed: {0}")]
    Store(#[from] E),
}
