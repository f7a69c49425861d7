//! A lock that processes take in turns, on one Redis.
//!
//! It is a key that holds the random token of its owner, and has an expiry: the lease. The owner
//! renews the lease while it works, and removes the key in the end. One that has died does neither,
//! and the lock is free when its lease is over.

use std::time::Duration;

use async_context_manager::{BodyError, prelude::*};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, RedisError, RedisResult};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Between two looks at a lock that others hold: at first, and at the most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// How long Redis may take for an answer, and for a new connection.
const PATIENCE_WITH_REDIS: Duration = Duration::from_millis(500);

const ACQUIRE: &str = "
    if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
        return redis.call('INCR', KEYS[2])
    end
    return false
";

const RENEW: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then
        return redis.call('PEXPIRE', KEYS[1], ARGV[2])
    end
    return 0
";

const RELEASE: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then
        return redis.call('DEL', KEYS[1])
    end
    return 0
";

/// How a lock is held, and waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How long the key outlives an owner that has died. A third of it passes between two renewals.
    pub(crate) lease: Duration,
    /// How long to wait while others have the lock.
    pub(crate) patience: Duration,
}

/// What goes wrong with a lock.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    #[error("others had the lock for {0:?}")]
    Busy(Duration),
    #[error("the lock was lost before the work was done")]
    Lost,
    #[error("Redis failed: {0}")]
    Redis(#[from] RedisError),
}

/// Has the lock while the body runs, and renews it beside the body. A lock that is lost ends the
/// body with [`LockError::Lost`].
///
/// A body that completes although the lock was lost in the meantime fails with that error too:
/// others may have worked at the same time. One whose lock could not be released fails with Redis'
/// error, and the lock is free when its lease is over.
#[async_context]
pub(crate) async fn lock(
    redis: ConnectionManager,
    name: String,
    terms: Terms,
) -> Result<Lock, LockError> {
    let mut claim = Claim::new(redis, name, terms.lease);
    // Whoever gives up waiting has nothing to undo: an attempt that is on its way does that itself.
    let Held { fence, until } = cancellable!(wait(&claim, terms.patience)).await?;
    let (_, outcome) = yield_!(Lock { fence }, claim.clone().keep(until));
    // To a body that was ended so it is no news, and there is nothing to release.
    if outcome.error().is_some_and(BodyError::is_from_beside) || claim.release().await? {
        Ok(())
    } else {
        Err(LockError::Lost)
    }
}

/// Tries until others have the lock no more.
async fn wait(claim: &Claim, patience: Duration) -> Result<Held, LockError> {
    let give_up = Instant::now() + patience;
    let mut pause = PAUSES.0;
    loop {
        let attempt = attempt(claim.clone()).with(async |held| Ok(*held));
        if let Some(held) = attempt.await? {
            return Ok(held);
        }
        let now = Instant::now();
        if now >= give_up {
            return Err(LockError::Busy(patience));
        }
        let next = now + pause.mul_f64(rand::random_range(0.5..1.0));
        sleep_until(next.min(give_up)).await;
        pause = PAUSES.1.min(pause * 2);
    }
}

/// One attempt: `None` if others have the lock. One that nobody waits for any more comes to its
/// end, and releases what it has got.
#[async_context]
async fn attempt(mut claim: Claim) -> Result<Option<Held>, RedisError> {
    let held = match claim.acquire().await {
        Ok(held) => held,
        Err(error) => {
            // Whether the key is there, nobody knows. It must not stay. Where this fails as well,
            // the lease takes care of it.
            let _ = claim.release().await;
            return Err(error);
        }
    };
    let (held, outcome) = yield_!(held);
    if held.is_some() && !outcome.is_completed() {
        claim.release().await?;
    }
    Ok(())
}

/// What a successful attempt gives.
#[derive(Clone, Copy)]
struct Held {
    fence: u64,
    /// When the lease is over: counted from before Redis did so, to be on the safe side.
    until: Instant,
}

/// The lock, while it is held.
#[derive(Debug)]
pub(crate) struct Lock {
    fence: u64,
}

impl Lock {
    /// The fencing token: a number that is higher than that of all owners before. Whatever the lock
    /// protects has to know the highest that it has seen, and to refuse those that are lower.
    pub(crate) fn fence(&self) -> u64 {
        self.fence
    }
}

/// One owner's, or would-be owner's, side of the key.
#[derive(Clone)]
struct Claim {
    redis: ConnectionManager,
    key: String,
    /// Of nobody else: so nobody renews or removes the key of another.
    token: String,
    lease: Duration,
}

impl Claim {
    fn new(redis: ConnectionManager, key: String, lease: Duration) -> Self {
        let token = format!("{:032x}", rand::random::<u128>());
        Self {
            redis,
            key,
            token,
            lease,
        }
    }

    /// `None` if others have the lock.
    async fn acquire(&mut self) -> RedisResult<Option<Held>> {
        let until = Instant::now() + self.lease;
        let fence: Option<u64> = eval(ACQUIRE, &[&self.key, &fence_key(&self.key)])
            .arg(&self.token)
            .arg(milliseconds(self.lease))
            .query_async(&mut self.redis)
            .await?;
        Ok(fence.map(|fence| Held { fence, until }))
    }

    /// Renews the lease until that fails for good. Then the lock is lost.
    async fn keep(mut self, mut until: Instant) -> Result<(), LockError> {
        let mut pause = self.lease / 3;
        loop {
            sleep_until(until.min(Instant::now() + pause)).await;
            let sent = Instant::now();
            if sent >= until {
                return Err(LockError::Lost);
            }
            match timeout_at(until, self.renew()).await {
                Ok(Ok(true)) => {
                    until = sent + self.lease;
                    pause = self.lease / 3;
                }
                Ok(Ok(false)) => return Err(LockError::Lost),
                // No answer. There may be one before the lease is over.
                Ok(Err(_)) | Err(_) => pause = self.lease / 20,
            }
        }
    }

    /// Is the lock still ours?
    async fn renew(&mut self) -> RedisResult<bool> {
        eval(RENEW, &[&self.key])
            .arg(&self.token)
            .arg(milliseconds(self.lease))
            .query_async(&mut self.redis)
            .await
    }

    /// Was the lock still ours?
    async fn release(&mut self) -> RedisResult<bool> {
        eval(RELEASE, &[&self.key])
            .arg(&self.token)
            .query_async(&mut self.redis)
            .await
    }
}

/// Where the last fencing token is kept. It has no expiry: a number that was handed out must not
/// come again.
pub(crate) fn fence_key(name: &str) -> String {
    format!("{name}:fence")
}

/// The script itself, not its hash: so it is one request, done or not, however long nobody has used
/// it.
pub(crate) fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A connection that comes back by itself, and never makes anybody wait for long.
pub(crate) async fn connect(url: &str) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(PATIENCE_WITH_REDIS))
        .set_response_timeout(Some(PATIENCE_WITH_REDIS))
        .set_number_of_retries(0);
    ConnectionManager::new_with_config(Client::open(url)?, config).await
}
