//! Leases on one Redis.

use std::fmt;

use redis::aio::ConnectionLike;
use redis::{Cmd, RedisError};

use crate::claim::Claim;
use crate::store::Store;

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

const CURRENT: &str = "
    if redis.call('EXISTS', KEYS[1]) == 1 then
        return redis.call('GET', KEYS[2])
    end
    return false
";

/// Leases on one Redis. Each lease is a key with an expiry. A second key, without an expiry, counts
/// the tokens.
///
/// If a single Redis restarts without its data, or fails over to a replica that is behind, it
/// forgets the holders of its leases. It may also count its tokens from an old number. No client
/// can repair that. If it matters, let Redis write each command to disk before it answers
/// (`appendfsync always`), or use another store. The server's wall clock ends a key: if that clock
/// is set forward, leases end early by as much.
///
/// `C` is a connection that can be cloned, such as redis' `ConnectionManager`. Set its response
/// timeout well below the ttl.
///
/// ```no_run
/// use async_context_leases::{RedisStore, lease};
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = redis::Client::open("redis://127.0.0.1:6379")?;
/// let store = RedisStore::new(client.get_connection_manager().await?);
/// let token = lease(store, "report").with(async |lease| Ok(lease.token())).await?;
/// assert!(token > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore<C> {
    connection: C,
}

impl<C> RedisStore<C> {
    /// Returns a store that sends its requests through this connection.
    ///
    /// ```no_run
    /// # use async_context_leases::{RedisStore, Store};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> redis::RedisResult<()> {
    /// let client = redis::Client::open("redis://127.0.0.1:6379")?;
    /// let store = RedisStore::new(client.get_connection_manager().await?);
    /// assert_eq!(store.current("nobody has this").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(connection: C) -> Self {
        Self { connection }
    }
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

/// Sends the script itself, not its hash, so that it is a single request. The braces put both keys
/// on one node of a cluster.
fn eval(script: &str, name: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command
        .arg(script)
        .arg(2)
        .arg(format!("{{{name}}}:lease"))
        .arg(format!("{{{name}}}:token"));
    command
}

fn milliseconds(claim: &Claim) -> u64 {
    // Rounded up, because the lease must not end before its ttl.
    let milliseconds = claim.ttl().as_nanos().div_ceil(1_000_000);
    u64::try_from(milliseconds).unwrap_or(u64::MAX)
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Store for RedisStore<C> {
    type Error = RedisError;

    async fn acquire(&self, claim: &Claim) -> Result<Option<u64>, RedisError> {
        eval(ACQUIRE, claim.name())
            .arg(claim.holder())
            .arg(milliseconds(claim))
            .query_async(&mut self.connection.clone())
            .await
    }

    async fn renew(&self, claim: &Claim) -> Result<bool, RedisError> {
        eval(RENEW, claim.name())
            .arg(claim.holder())
            .arg(milliseconds(claim))
            .query_async(&mut self.connection.clone())
            .await
    }

    async fn release(&self, claim: &Claim) -> Result<bool, RedisError> {
        eval(RELEASE, claim.name())
            .arg(claim.holder())
            .query_async(&mut self.connection.clone())
            .await
    }

    async fn current(&self, name: &str) -> Result<Option<u64>, RedisError> {
        eval(CURRENT, name)
            .query_async(&mut self.connection.clone())
            .await
    }
}
