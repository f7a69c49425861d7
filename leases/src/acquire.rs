//! The context that waits for a lease, renews it, and releases it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::generator::Lender;
use async_context_manager::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::claim::Claim;
use crate::error::LeaseError;
use crate::lease::Lease;
use crate::store::Store;

pub(crate) const TTL: Duration = Duration::from_secs(10);

/// With this limit, no instant overflows, and no store refuses the time.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const SHORTEST: Duration = Duration::from_millis(1);

/// With less time than this, a holder could do nothing.
pub(crate) const SHORTEST_TTL: Duration = Duration::from_millis(100);

/// Returns how long a holder is sure of what it has for a whole ttl. A tenth of the ttl remains in
/// any case: with less, no request could be answered in time.
pub(crate) fn sure_for(ttl: Duration, margin: Option<Duration>) -> Duration {
    let margin = margin.unwrap_or(ttl / 10);
    ttl.saturating_sub(margin).max(ttl / 10)
}

/// Returns how long a holder waits between two renewals. A renewal that fails can be repeated at
/// least once before the holder is no longer sure.
pub(crate) fn pause(ttl: Duration, sure_for: Duration) -> Duration {
    (ttl / 3).min(sure_for / 2)
}

/// Who tells that a lease was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Teller {
    /// The future beside the body, which ends the body.
    Beside,
    /// The exit, because the body was over.
    Exit,
}

impl Teller {
    pub(crate) fn of(is_body_over: bool) -> Self {
        if is_body_over {
            Self::Exit
        } else {
            Self::Beside
        }
    }

    /// Returns the result of the future beside the body, after the loss.
    pub(crate) fn end<E>(self) -> Result<(), LeaseError<E>> {
        match self {
            Self::Beside => Err(LeaseError::Lost),
            Self::Exit => Ok(()),
        }
    }

    /// Returns the result of the exit, after the loss. If the body completed, the error of the
    /// future beside it came too late.
    pub(crate) fn exit<E>(self, outcome: &Outcome) -> Result<(), LeaseError<E>> {
        match self {
            Self::Beside if !outcome.is_completed() => Ok(()),
            Self::Beside | Self::Exit => Err(LeaseError::Lost),
        }
    }
}

/// Returns a context for the lease of that name. It waits until nobody else has the lease, renews
/// the lease beside the body, and releases the lease in the exit.
///
/// Those who wait do not form a queue: once the lease is free, the first to ask gets it.
///
/// ```
/// use async_context_leases::{MemoryStore, Store, lease};
/// use async_context_manager::prelude::*;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let store = MemoryStore::new();
/// let lease = lease(store.clone(), "report").ttl(Duration::from_secs(10));
/// let work = async |lease: &mut async_context_leases::Lease| {
///     tokio::time::sleep(Duration::from_secs(60)).await; // it is renewed meanwhile
///     Ok(lease.token())
/// };
/// assert_eq!(lease.with(work).await, Ok(1));
/// assert_eq!(store.current("report").await, Ok(None)); // it was released
/// # }
/// ```
pub fn lease<S: Store>(store: S, name: impl Into<String>) -> Acquire<S> {
    Acquire {
        store: Arc::new(store),
        claim: Claim::new(name, TTL),
        margin: None,
        patience: None,
        waits_until: None,
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(500),
        jitter: SmallRng::seed_from_u64(rand::random()),
        held: None,
        teller: None,
    }
}

/// Like [`lease`], but does not wait: if somebody else has the lease, the enter fails with
/// [`LeaseError::Held`].
///
/// ```
/// use async_context_leases::{LeaseError, MemoryStore, try_lease};
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let store = MemoryStore::new();
/// let first = try_lease(store.clone(), "report").guard().await.unwrap();
/// let second = try_lease(store, "report").guard().await;
/// assert_eq!(second.unwrap_err(), LeaseError::Held);
/// Guard::close(first).await.unwrap();
/// # }
/// ```
pub fn try_lease<S: Store>(store: S, name: impl Into<String>) -> Acquire<S> {
    lease(store, name).wait_at_most(Duration::ZERO)
}

/// A context for a lease that is not held yet. [`lease`] and [`try_lease`] return it.
///
/// ```
/// use async_context_leases::{Acquire, MemoryStore, lease};
/// use async_context_manager::prelude::*;
///
/// struct Leader {
///     lease: Guard<Acquire<MemoryStore>>,
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let leader = Leader { lease: lease(MemoryStore::new(), "leader").guard().await.unwrap() };
/// assert_eq!(leader.lease.token(), 1);
/// Guard::close(leader.lease).await.unwrap();
/// # }
/// ```
///
/// # Errors
///
/// The enter fails with [`Held`](LeaseError::Held), [`Store`](LeaseError::Store) or
/// [`NoAnswer`](LeaseError::NoAnswer). The body fails with [`Lost`](LeaseError::Lost). If the
/// release fails, the exit returns the error, and the lease ends after its ttl. If the store no
/// longer has the lease, the exit of a completed body fails with `Lost`. A lease that was lost in
/// the body is not released.
///
/// # Cancel safety
///
/// If a wait is dropped, it ends on the spot. If a request is on its way, it runs to its end, and a
/// lease that the request got is released.
#[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
pub struct Acquire<S> {
    store: Arc<S>,
    claim: Claim,
    margin: Option<Duration>,
    patience: Option<Duration>,
    waits_until: Option<Instant>,
    pause: Duration,
    longest_pause: Duration,
    jitter: SmallRng,
    held: Option<watch::Sender<Instant>>,
    /// `Some` once the lease was lost.
    teller: Option<Teller>,
}

#[derive(Debug, Clone, Copy)]
struct Granted {
    token: u64,
    sure_until: Instant,
}

/// One request for a lease. Yields `None` if others have the lease.
///
/// A caller that gives up waiting has nothing to undo. A request that is on its way runs to its end
/// in the background, and a lease that it got is released.
#[async_context]
async fn attempt<S: Store>(
    store: Arc<S>,
    claim: Claim,
    sure_for: Duration,
) -> Result<Option<Granted>, LeaseError<S::Error>> {
    let sure_until = Instant::now() + sure_for;
    let granted = match timeout_at(sure_until, store.acquire(&claim)).await {
        Ok(Ok(None)) => Ok(None),
        Ok(Ok(Some(token))) if Instant::now() < sure_until => {
            Ok(Some(Granted { token, sure_until }))
        }
        Ok(Err(error)) => Err(LeaseError::Store(error)),
        // An answer that comes too late counts as no answer.
        Ok(Ok(Some(_))) | Err(_) => Err(LeaseError::NoAnswer),
    };
    if granted.is_err() {
        // The lease may have been granted. If this release fails as well, the lease ends by its
        // ttl.
        let _ = timeout(claim.ttl / 10, store.release(&claim)).await;
    }
    let (granted, outcome) = yield_!(granted?);
    if granted.is_some() && !outcome.is_completed() {
        match timeout(claim.ttl, store.release(&claim)).await {
            Ok(released) => released?,
            Err(_) => return Err(LeaseError::NoAnswer),
        };
    }
    Ok(())
}

impl<S> fmt::Debug for Acquire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("claim", &self.claim)
            .finish_non_exhaustive()
    }
}

impl<S: Store> Acquire<S> {
    /// Sets how long the lease outlives a holder that has died. The default is ten seconds, and the
    /// least is a tenth of a second. The holder renews the lease every third of this time, and more
    /// often with a [margin](Self::margin) of more than a third.
    ///
    /// ```
    /// # use async_context_leases::{MemoryStore, Store, lease};
    /// # use async_context_manager::prelude::*;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let lease = lease(MemoryStore::new(), "report").ttl(Duration::from_secs(30));
    /// assert_eq!(lease.with(async |lease| Ok(lease.token())).await, Ok(1));
    /// # }
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.claim.ttl = ttl.clamp(SHORTEST_TTL, LONGEST);
        self
    }

    /// Sets how long before the end of the lease the holder gives up. The default is a tenth of the
    /// ttl.
    ///
    /// The body must drop within this margin. The margin also makes up for clocks that do not run
    /// at the same speed. A margin of more than nine tenths of the ttl counts as nine tenths.
    ///
    /// ```
    /// # use async_context_leases::{MemoryStore, lease};
    /// # use async_context_manager::prelude::*;
    /// # use std::time::Duration;
    /// # use tokio::time::Instant;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let lease = lease(MemoryStore::new(), "report")
    ///     .ttl(Duration::from_secs(10))
    ///     .margin(Duration::from_secs(4));
    /// let left = lease.with(async |lease| Ok(lease.sure_until() - Instant::now())).await;
    /// assert_eq!(left, Ok(Duration::from_secs(6)));
    /// # }
    /// ```
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// Limits how long the enter waits for others. After that, it fails with [`LeaseError::Held`].
    /// A request that is on its way at the end of this time is not cut off. The store has up to one
    /// ttl for its answer.
    ///
    /// ```
    /// # use async_context_leases::{LeaseError, MemoryStore, lease};
    /// # use async_context_manager::prelude::*;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let store = MemoryStore::new();
    /// let held = lease(store.clone(), "report").guard().await.unwrap();
    /// let second = lease(store, "report").wait_at_most(Duration::from_secs(60));
    /// assert_eq!(second.with(async |_| Ok(())).await, Err(LeaseError::Held));
    /// Guard::close(held).await.unwrap();
    /// # }
    /// ```
    pub fn wait_at_most(mut self, patience: Duration) -> Self {
        self.patience = Some(patience.min(LONGEST));
        self
    }

    /// Sets the pauses between two requests for a lease that others have. The first pause doubles
    /// from request to request, up to the longest. Each pause is shortened at random, by up to a
    /// half.
    ///
    /// ```
    /// # use async_context_leases::{MemoryStore, lease};
    /// # use async_context_manager::prelude::*;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let lease = lease(MemoryStore::new(), "report")
    ///     .backoff(Duration::from_millis(50), Duration::from_secs(5));
    /// assert_eq!(lease.with(async |lease| Ok(lease.token())).await, Ok(1));
    /// # }
    /// ```
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.longest_pause = longest.clamp(SHORTEST, LONGEST);
        self.pause = first.clamp(SHORTEST, self.longest_pause);
        self
    }

    /// Seeds the random pauses, so that a test is the same in each run. Two holders of one lease
    /// need different seeds.
    ///
    /// ```
    /// use async_context_leases::{MemoryStore, lease};
    /// use async_context_manager::prelude::*;
    /// use std::time::Duration;
    /// use tokio::time::{Instant, sleep};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let mut waits = Vec::new();
    /// for _ in 0..2 {
    ///     let store = MemoryStore::new();
    ///     let first = lease(store.clone(), "report").guard().await.unwrap();
    ///     let second = lease(store, "report").seed(7).with(async |_| Ok(Instant::now()));
    ///     let (begun, second) = (Instant::now(), tokio::spawn(second));
    ///     sleep(Duration::from_secs(60)).await;
    ///     Guard::close(first).await.unwrap();
    ///     waits.push(second.await.unwrap().unwrap() - begun);
    /// }
    /// assert_eq!(waits[0], waits[1]);
    /// # }
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.jitter = SmallRng::seed_from_u64(seed);
        self
    }

    /// Returns a context with the same settings, for another holder.
    pub(crate) fn again(&mut self) -> Self {
        Self {
            jitter: SmallRng::from_rng(&mut self.jitter),
            store: Arc::clone(&self.store),
            claim: Claim::new(self.claim.name(), self.claim.ttl),
            held: None,
            teller: None,
            waits_until: None,
            ..*self
        }
    }

    pub(crate) fn longest_pause(&self) -> Duration {
        self.longest_pause
    }

    /// Returns how long the holder is sure of a lease, counted from before the request was sent.
    fn sure_for(&self) -> Duration {
        sure_for(self.claim.ttl, self.margin)
    }

    /// Returns `None` if others have the lease.
    async fn ask(&mut self) -> Result<Option<Lease>, LeaseError<S::Error>> {
        let attempt = attempt(Arc::clone(&self.store), self.claim.clone(), self.sure_for());
        let granted = attempt.with(async |granted| Ok(*granted)).await?;
        Ok(granted.map(|Granted { token, sure_until }| {
            let (sender, receiver) = watch::channel(sure_until);
            self.held = Some(sender);
            Lease::new(token, receiver)
        }))
    }

    fn next_pause(&mut self) -> Result<Duration, LeaseError<S::Error>> {
        let now = Instant::now();
        let pause = self.pause.mul_f64(self.jitter.random_range(0.5..1.0));
        self.pause = self.longest_pause.min(self.pause * 2);
        match self.waits_until {
            Some(until) if until <= now => Err(LeaseError::Held),
            Some(until) => Ok(pause.min(until - now)),
            None => Ok(pause),
        }
    }

    /// Renews the lease until the holder can no longer be sure of it.
    async fn keep(&mut self, is_body_over: impl Fn() -> bool) -> Result<(), LeaseError<S::Error>> {
        let Some(held) = &self.held else {
            return Ok(()); // not entered
        };
        if self.teller.is_some() {
            return Ok(()); // lost before
        }
        let pause = pause(self.claim.ttl, self.sure_for());
        // Counted from the request that got the lease, whose answer may have taken long.
        let mut next = *held.borrow() - self.sure_for() + pause;
        loop {
            let sure_until = *held.borrow();
            sleep_until(next.min(sure_until)).await;
            let sent = Instant::now();
            if sure_until <= sent {
                break;
            }
            // A request without an answer must not keep the next one from being sent.
            let limit = sure_until.min(sent + pause);
            match timeout_at(limit, self.store.renew(&self.claim)).await {
                Ok(Ok(true)) => {
                    held.send_replace(sent + self.sure_for());
                    next = sent + pause;
                }
                Ok(Ok(false)) => break,
                Ok(Err(_)) | Err(_) => next = Instant::now() + pause / 10,
            }
        }
        // The lease is gone, so the exit must not release it.
        held.send_replace(Instant::now());
        let teller = Teller::of(is_body_over());
        self.teller = Some(teller);
        teller.end()
    }

    /// Releases the lease, unless it was lost.
    async fn give_back(self, outcome: &Outcome) -> Result<(), LeaseError<S::Error>> {
        if let Some(teller) = self.teller {
            return teller.exit(outcome);
        }
        match timeout(self.claim.ttl, self.store.release(&self.claim)).await {
            Ok(Ok(true)) => Ok(()),
            // The body did not complete, so its caller need not learn that the lease was lost as
            // well.
            Ok(Ok(false)) if !outcome.is_completed() => Ok(()),
            Ok(Ok(false)) => Err(LeaseError::Lost),
            Ok(Err(error)) => Err(LeaseError::Store(error)),
            Err(_) => Err(LeaseError::NoAnswer),
        }
    }
}

impl<S: Store> AsyncContext for Acquire<S> {
    type Value = Lease;
    type Error = LeaseError<S::Error>;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<Lease, Self::Error> {
        self.waits_until = self.patience.map(|patience| Instant::now() + patience);
        loop {
            if let Some(lease) = self.ask().await? {
                return Ok(lease);
            }
            sleep(self.next_pause()?).await;
        }
    }

    async fn beside(&mut self) -> Result<(), Self::Error> {
        self.keep(|| false).await
    }

    async fn exit(self, _lease: Lease, outcome: &Outcome) -> Result<(), Self::Error> {
        self.give_back(outcome).await
    }

    /// Makes the enter `cancellable!`, which a plain `enter` cannot be.
    async fn __coroutine(mut self, lender: Lender<Lease, Self::Error>) -> Result<(), Self::Error> {
        let lease = lender.cancellable(self.enter()).await?;
        let keep = self.keep(|| lender.is_body_over());
        let (_lease, outcome) = lender.yield_beside(lease, keep).await;
        self.give_back(outcome).await
    }
}
