//! Where leases are kept.

use std::error::Error;
use std::future::Future;

use crate::claim::Claim;

/// The place where leases are kept: four requests to a server, or to anything else that all
/// processes share.
///
/// [`MemoryStore`](crate::MemoryStore) is a store for tests. The stores for servers are behind
/// features.
///
/// # What the implementer owes
///
/// 1. The server must decide each request in one step: a script, a transaction, a compare-and-swap.
/// 2. A lease must end by the clock of the server, and no earlier than [`ttl`](Claim::ttl) after
///    the server received the request. The clocks of clients must not matter.
/// 3. The token of a lease must grow with each new holder, and survive releases, ends and restarts.
/// 4. A request may be dropped at any moment, and may then have arrived or not.
///
/// # How to write a store
///
/// A store is four methods, usually with a compare-and-swap. Below is a complete store for etcd, by
/// the crate `etcd-client`. The build of that crate needs `protoc`, so the tests of this package
/// run the store with a small fake of the crate and of etcd.
///
/// ```ignore
#[doc = include_str!("etcd_example.rs")]
/// ```
///
/// Two questions decide whether a store is right. First, what happens to a request that arrives
/// when the holder has given up waiting for the answer? Here, a late `acquire` leaves a lease that
/// ends by its ttl; a late `renew` can only lengthen the lease that it was sent for; a late
/// `release` finds another holder's name. Second, whose clock ends a lease? Here, the clock of
/// etcd's leader does, and a new leader begins the ttl anew. A lease of etcd lasts for whole
/// seconds, and for about two at least. A lease that lasts longer than asked for is safe, and a
/// shorter one is not.
pub trait Store: Send + Sync + 'static {
    /// The error of a request.
    type Error: Error + Send + Sync + 'static;

    /// Grants the lease if nobody has it, and returns its token. Returns `None` if another holder
    /// has it.
    ///
    /// ```
    /// # use async_context_leases::{Claim, MemoryStore, Store};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// let claim = || Claim::new("report", Duration::from_secs(10));
    /// assert_eq!(store.acquire(&claim()).await, Ok(Some(1)));
    /// assert_eq!(store.acquire(&claim()).await, Ok(None));
    /// # }
    /// ```
    fn acquire(
        &self,
        claim: &Claim,
    ) -> impl Future<Output = Result<Option<u64>, Self::Error>> + Send;

    /// Makes the lease last for another ttl from now on. Returns `false` if the claim no longer has
    /// the lease.
    ///
    /// ```
    /// # use async_context_leases::{Claim, MemoryStore, Store};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// let claim = Claim::new("report", Duration::from_secs(10));
    /// assert_eq!(store.renew(&claim).await, Ok(false));
    /// store.acquire(&claim).await.unwrap();
    /// assert_eq!(store.renew(&claim).await, Ok(true));
    /// # }
    /// ```
    fn renew(&self, claim: &Claim) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Ends the lease, if the claim has it. Returns `false` if the claim no longer has the lease.
    ///
    /// ```
    /// # use async_context_leases::{Claim, MemoryStore, Store};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// let claim = Claim::new("report", Duration::from_secs(10));
    /// store.acquire(&claim).await.unwrap();
    /// assert_eq!(store.release(&claim).await, Ok(true));
    /// assert_eq!(store.release(&claim).await, Ok(false));
    /// # }
    /// ```
    fn release(&self, claim: &Claim) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Returns the token of the current holder, or `None` if nobody has the lease. The answer may
    /// be outdated when it arrives: it is for people, monitoring and tests.
    ///
    /// ```
    /// # use async_context_leases::{Claim, MemoryStore, Store};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// store.acquire(&Claim::new("report", Duration::from_secs(10))).await.unwrap();
    /// assert_eq!(store.current("report").await, Ok(Some(1)));
    /// tokio::time::sleep(Duration::from_secs(11)).await;
    /// assert_eq!(store.current("report").await, Ok(None));
    /// # }
    /// ```
    fn current(&self, name: &str) -> impl Future<Output = Result<Option<u64>, Self::Error>> + Send;
}
