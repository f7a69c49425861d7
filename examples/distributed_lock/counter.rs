//! What the lock protects: a counter that every worker reads, and then writes one more.
//!
//! It knows the highest fencing token that it has seen, and refuses what comes with a lower one. It is
//! on the same Redis here; a file store or a database with such a check does as well.

use std::fmt;

use async_context_manager::prelude::*;
use redis::aio::ConnectionManager;
use redis::{AsyncCommands as _, RedisResult};

use crate::AnyError;
use crate::lock::{connect, eval, fence_key};

const READ: &str = "
    local seen = tonumber(redis.call('HGET', KEYS[1], 'fence') or 0)
    if tonumber(ARGV[1]) < seen then
        redis.call('HINCRBY', KEYS[1], 'refused', 1)
        return false
    end
    redis.call('HSET', KEYS[1], 'fence', ARGV[1])
    return tonumber(redis.call('HGET', KEYS[1], 'value') or 0)
";

const WRITE: &str = "
    if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
        redis.call('HINCRBY', KEYS[1], 'refused', 1)
        return 0
    end
    redis.call('HINCRBY', KEYS[1], 'writes', 1)
    redis.call('HSET', KEYS[1], 'value', ARGV[2])
    return 1
";

/// A name for a lock and its counter that nobody else uses. What they leave on Redis is removed in the end.
#[async_context]
pub(crate) async fn place(redis_url: String) -> Result<String, AnyError> {
    let reached = connect(&redis_url).await;
    reached.map_err(|error| format!("no Redis at {redis_url}: {error}"))?;
    let name = format!("distributed_lock:{:016x}", rand::random::<u64>());
    let (name, _) = yield_!(name);
    // Not by the connection of the beginning, which may have broken since.
    let mut redis = connect(&redis_url).await?;
    Ok(redis.del((counter_key(&name), fence_key(&name))).await?)
}

fn counter_key(lock: &str) -> String {
    format!("{lock}:counter")
}

/// A handle to the counter.
#[derive(Clone)]
pub(crate) struct Counter {
    redis: ConnectionManager,
    key: String,
}

/// What the counter says of itself.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) value: u64,
    /// Fewer than the value if two have written the same number: then there were two owners.
    pub(crate) writes: u64,
    /// Writes of those who had lost the lock.
    pub(crate) refused: u64,
    /// The highest fencing token that was seen.
    pub(crate) fence: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            value,
            writes,
            refused,
            fence,
        } = self;
        write!(
            f,
            "the counter is at {value} after {writes} writes, {refused} refused; \
             the lock had {fence} owners"
        )
    }
}

impl Counter {
    pub(crate) fn of(redis: ConnectionManager, lock: &str) -> Self {
        let key = counter_key(lock);
        Self { redis, key }
    }

    /// The value, and from now on nothing from owners before this one. `None` if one after it was here.
    pub(crate) async fn read(&mut self, fence: u64) -> RedisResult<Option<u64>> {
        let mut read = eval(READ, &[&self.key]);
        read.arg(fence).query_async(&mut self.redis).await
    }

    /// Writes the value, unless another owner was here since this one has read it.
    pub(crate) async fn write(&mut self, fence: u64, value: u64) -> RedisResult<bool> {
        let mut write = eval(WRITE, &[&self.key]);
        let write = write.arg(fence).arg(value);
        write.query_async(&mut self.redis).await
    }

    pub(crate) async fn tally(&mut self) -> RedisResult<Tally> {
        let names = ["value", "writes", "refused", "fence"];
        let fields: [Option<u64>; 4] = self.redis.hmget(&self.key, &names).await?;
        let [value, writes, refused, fence] = fields.map(Option::unwrap_or_default);
        Ok(Tally {
            value,
            writes,
            refused,
            fence,
        })
    }
}
