//! A store in this process, for tests.

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::claim::Claim;
use crate::store::Store;

/// A store in the memory of one process: for tests of code that uses leases.
///
/// The store uses tokio's clock, so under paused time a test is the same in each run. A clone uses
/// the same connection to the same server. [`connect`](MemoryStore::connect) makes another
/// connection, for the part of a test that plays another process. Connections can be slow, cut, or
/// refused.
///
/// ```
/// use async_context_leases::{LeaseError, MemoryStore, lease};
/// use async_context_manager::prelude::*;
/// use std::future::pending;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let store = MemoryStore::new();
/// let link = store.clone();
/// let work = lease(store, "report").with(async move |_| {
///     link.cut(); // from now on, nothing is answered
///     pending::<Result<(), _>>().await
/// });
/// assert_eq!(work.await, Err(LeaseError::Lost));
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    server: Arc<Mutex<HashMap<String, Entry>>>,
    link: Arc<Mutex<Link>>,
}

/// The error of a [`MemoryStore`] that [refuses](MemoryStore::refuse) its requests.
///
/// ```
/// use async_context_leases::{LeaseError, MemoryStore, Unreachable, lease};
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let store = MemoryStore::new();
/// store.refuse();
/// let result = lease(store, "report").with(async |_| Ok(())).await;
/// assert_eq!(result, Err(LeaseError::Store(Unreachable)));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the store can't be reached")]
pub struct Unreachable;

#[derive(Default)]
struct Entry {
    token: u64,
    /// The holder of the lease, and when the lease ends.
    held: Option<(String, Instant)>,
}

impl Entry {
    fn holder(&self) -> Option<&str> {
        let (holder, until) = self.held.as_ref()?;
        (Instant::now() < *until).then_some(holder)
    }
}

type Delays = Arc<Mutex<dyn FnMut() -> (Duration, Duration) + Send>>;

#[derive(Default)]
struct Link {
    state: State,
    delays: Option<Delays>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Good,
    Cut,
    Refused,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryStore {
    /// Creates a new server, and a connection to it.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// assert_eq!(MemoryStore::new().current("report").await, Ok(None));
    /// # }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            server: Arc::default(),
            link: Arc::default(),
        }
    }

    /// Returns another, intact connection to the same server.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, Store, Unreachable};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// let other = store.connect();
    /// store.refuse();
    /// assert_eq!(store.current("report").await, Err(Unreachable));
    /// assert_eq!(other.current("report").await, Ok(None));
    /// # }
    /// ```
    #[must_use]
    pub fn connect(&self) -> Self {
        Self {
            server: Arc::clone(&self.server),
            link: Arc::default(),
        }
    }

    /// Loses requests and answers on this connection from now on: no request is answered, and none
    /// fails.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, Store};
    /// use std::time::Duration;
    /// use tokio::time::timeout;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// store.cut();
    /// assert!(timeout(Duration::from_secs(60), store.current("report")).await.is_err());
    /// # }
    /// ```
    pub fn cut(&self) {
        lock(&self.link).state = State::Cut;
    }

    /// Makes requests on this connection fail with [`Unreachable`] from now on, without arriving.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, Store, Unreachable};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// store.refuse();
    /// assert_eq!(store.current("report").await, Err(Unreachable));
    /// # }
    /// ```
    pub fn refuse(&self) {
        lock(&self.link).state = State::Refused;
    }

    /// Repairs the connection. Requests and answers that got lost stay lost.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// store.refuse();
    /// store.mend();
    /// assert_eq!(store.current("report").await, Ok(None));
    /// # }
    /// ```
    pub fn mend(&self) {
        lock(&self.link).state = State::Good;
    }

    /// Makes each request on this connection take this long. The function returns two times: to the
    /// server, and back. The function must not await a request on this connection.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, Store};
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// store.delay(|| (Duration::from_secs(1), Duration::from_secs(2)));
    /// let sent = Instant::now();
    /// store.current("report").await.unwrap();
    /// assert_eq!(sent.elapsed(), Duration::from_secs(3));
    /// # }
    /// ```
    pub fn delay(&self, delays: impl FnMut() -> (Duration, Duration) + Send + 'static) {
        let before = lock(&self.link)
            .delays
            .replace(Arc::new(Mutex::new(delays)));
        drop(before);
    }

    /// Makes the server lose the lease of that name, whoever has it. The next token is still
    /// higher.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, Store, lease};
    /// use async_context_manager::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// let _lost = lease(store.clone(), "report").guard().await.unwrap();
    /// store.forget("report");
    /// assert_eq!(store.current("report").await, Ok(None));
    /// # }
    /// ```
    pub fn forget(&self, name: &str) {
        if let Some(entry) = lock(&self.server).get_mut(name) {
            entry.held = None;
        }
    }

    /// Sends a request to the server, lets the server handle it, and returns the answer.
    async fn request<R>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Entry) -> R + Send,
    ) -> Result<R, Unreachable> {
        let (to, from) = self.delays();
        self.pass(to).await?;
        let answer = act(lock(&self.server).entry(name.to_owned()).or_default());
        self.pass(from).await?;
        Ok(answer)
    }

    /// Returns how long the next request takes to the server, and back.
    fn delays(&self) -> (Duration, Duration) {
        let Some(delays) = lock(&self.link).delays.clone() else {
            return Default::default();
        };
        // Called without the lock of the link, because the function may change this connection.
        let mut delays = lock(&delays);
        (*delays)()
    }

    /// Takes a message one way.
    async fn pass(&self, time: Duration) -> Result<(), Unreachable> {
        if !time.is_zero() {
            sleep(time).await;
        }
        let state = lock(&self.link).state;
        match state {
            State::Good => Ok(()),
            State::Cut => pending().await,
            State::Refused => Err(Unreachable),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    type Error = Unreachable;

    async fn acquire(&self, claim: &Claim) -> Result<Option<u64>, Unreachable> {
        let grant = |entry: &mut Entry| {
            if entry.holder().is_some() {
                return None;
            }
            entry.token += 1;
            entry.held = Some((claim.holder().to_owned(), Instant::now() + claim.ttl()));
            Some(entry.token)
        };
        self.request(claim.name(), grant).await
    }

    async fn renew(&self, claim: &Claim) -> Result<bool, Unreachable> {
        let renew = |entry: &mut Entry| {
            let is_ours = entry.holder() == Some(claim.holder());
            if is_ours {
                entry.held = Some((claim.holder().to_owned(), Instant::now() + claim.ttl()));
            }
            is_ours
        };
        self.request(claim.name(), renew).await
    }

    async fn release(&self, claim: &Claim) -> Result<bool, Unreachable> {
        let release = |entry: &mut Entry| {
            let is_ours = entry.holder() == Some(claim.holder());
            if is_ours {
                entry.held = None;
            }
            is_ours
        };
        self.request(claim.name(), release).await
    }

    async fn current(&self, name: &str) -> Result<Option<u64>, Unreachable> {
        let token = |entry: &mut Entry| entry.holder().is_some().then_some(entry.token);
        self.request(name, token).await
    }
}
