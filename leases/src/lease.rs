//! A lease that is held.

use tokio::sync::watch;
use tokio::time::Instant;

/// A lease that is held: the value that the body borrows.
///
/// ```
/// use async_context_leases::{MemoryStore, lease};
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let work = async |lease: &mut async_context_leases::Lease| {
///     assert!(lease.is_sure());
///     Ok(lease.token())
/// };
/// let store = MemoryStore::new();
/// assert_eq!(lease(store.clone(), "report").with(work).await, Ok(1));
/// assert_eq!(lease(store, "report").with(work).await, Ok(2)); // it grows
/// # }
/// ```
#[derive(Debug)]
pub struct Lease {
    token: u64,
    sure_until: watch::Receiver<Instant>,
}

impl Lease {
    pub(crate) fn new(token: u64, sure_until: watch::Receiver<Instant>) -> Self {
        Self { token, sure_until }
    }

    /// Returns the fencing token: a number that is higher than those of all earlier holders.
    ///
    /// The resource that the lease protects must remember the highest token that it has seen, and
    /// refuse a write with a lower one. Otherwise a process that was stopped can still write after
    /// its lease is over, before its body has ended.
    ///
    /// ```
    /// # use async_context_leases::{MemoryStore, lease};
    /// # use async_context_manager::prelude::*;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let token = lease(MemoryStore::new(), "report").with(async |lease| Ok(lease.token()));
    /// assert_eq!(token.await, Ok(1));
    /// # }
    /// ```
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Returns the moment until which nobody else can have the lease. Each renewal moves that
    /// moment.
    ///
    /// ```
    /// # use async_context_leases::{MemoryStore, lease};
    /// # use async_context_manager::prelude::*;
    /// # use std::time::Duration;
    /// # use tokio::time::Instant;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let lease = lease(MemoryStore::new(), "report").ttl(Duration::from_secs(10));
    /// let left = lease.with(async |lease| Ok(lease.sure_until() - Instant::now())).await;
    /// assert_eq!(left, Ok(Duration::from_secs(9))); // the ttl less a margin
    /// # }
    /// ```
    #[must_use]
    pub fn sure_until(&self) -> Instant {
        *self.sure_until.borrow()
    }

    /// Returns `true` if nobody else can have the lease now, by the monotonic clock of this
    /// process.
    ///
    /// A body that has computed for a long time without an await can call this before it writes.
    ///
    /// ```
    /// # use async_context_leases::{MemoryStore, lease};
    /// # use async_context_manager::prelude::*;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let is_sure = lease(MemoryStore::new(), "report").with(async |lease| Ok(lease.is_sure()));
    /// assert_eq!(is_sure.await, Ok(true));
    /// # }
    /// ```
    #[must_use]
    pub fn is_sure(&self) -> bool {
        Instant::now() < self.sure_until()
    }
}
