//! Where leases are kept.

use std::error::Error;
use std::future::Future;

use crate::claim::Claim;

/// Where leases are kept: four requests to something that all processes share.
///
/// [`MemoryStore`](crate::MemoryStore) is one for tests. Those for servers are behind features.
///
/// # What the implementer owes
///
/// 1. Each request is decided by the server in one step: a script, a transaction, a
///    compare-and-swap.
/// 2. A lease ends by the clock of the server, at the earliest [`ttl`](Claim::ttl) after the server
///    received the request. No clock of a client takes part.
/// 3. The token of a lease grows with each new holder. It outlives releases, ends and restarts.
/// 4. A request may be dropped at any moment, and may then have arrived or not.
///
/// # How to write a store
///
/// For etcd, `acquire` grants an etcd lease with the ttl, and then runs one transaction: if the
/// key's `create_revision` is 0, put the holder's name under that lease. The token is the revision
/// of the transaction. `renew` reads the key, compares the holder, and sends one keep-alive for the
/// key's lease. `release` is a transaction that deletes the key if its value is the holder.
/// `current` is the key's `create_revision`. All of it for a map in a process, without ends by
/// time:
///
/// ```
/// use async_context_leases::{Claim, Store, lease};
/// use async_context_manager::prelude::*;
/// use std::{collections::HashMap, convert::Infallible, sync::Arc};
/// use tokio::sync::Mutex;
///
/// #[derive(Clone, Default)]
/// struct Local(Arc<Mutex<HashMap<String, (u64, Option<String>)>>>);
///
/// impl Store for Local {
///     type Error = Infallible;
///
///     async fn acquire(&self, claim: &Claim) -> Result<Option<u64>, Infallible> {
///         let mut leases = self.0.lock().await;
///         let (token, holder) = leases.entry(claim.name().to_owned()).or_default();
///         if holder.is_some() {
///             return Ok(None);
///         }
///         *holder = Some(claim.holder().to_owned());
///         *token += 1;
///         Ok(Some(*token))
///     }
///
///     async fn renew(&self, claim: &Claim) -> Result<bool, Infallible> {
///         let leases = self.0.lock().await;
///         let lease = leases.get(claim.name());
///         Ok(lease.is_some_and(|(_, holder)| holder.as_deref() == Some(claim.holder())))
///     }
///
///     async fn release(&self, claim: &Claim) -> Result<bool, Infallible> {
///         let mut leases = self.0.lock().await;
///         let lease = leases.get_mut(claim.name());
///         let is_ours = |holder: &mut String| holder == claim.holder();
///         Ok(lease.is_some_and(|(_, holder)| holder.take_if(is_ours).is_some()))
///     }
///
///     async fn current(&self, name: &str) -> Result<Option<u64>, Infallible> {
///         let leases = self.0.lock().await;
///         Ok(leases.get(name).and_then(|(token, holder)| holder.as_ref().map(|_| *token)))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = Local::default();
/// let token = lease(store.clone(), "report").with(async |lease| Ok(lease.token())).await;
/// assert_eq!(token, Ok(1));
/// assert_eq!(store.current("report").await, Ok(None));
/// # }
/// ```
pub trait Store: Send + Sync + 'static {
    /// The error of a request.
    type Error: Error + Send + Sync + 'static;

    /// Grants the lease if nobody has it, and gives its token. `None` if another holder has it.
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

    /// Lets the lease last for another ttl from now on. `false` if the claim does not have it any
    /// more.
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

    /// Ends the lease, if the claim has it. `false` if the claim does not have it any more.
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

    /// Looks up the token of whoever has the lease now. `None` if nobody has. For people,
    /// monitoring and tests: the answer may be old when it arrives.
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
