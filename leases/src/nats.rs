//! Leases in a key-value bucket of NATS JetStream.

use std::fmt::Write as _;
use std::time::Duration;

use async_nats::jetstream::kv::{self, UpdateError, UpdateErrorKind};
use async_nats::jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind};
use thiserror::Error;

use crate::claim::Claim;
use crate::store::Store;

/// Leases in a key-value bucket of NATS JetStream. Each lease is a key. The server removes a key
/// that nobody has written for the `max_age` of the bucket.
///
/// Create the bucket with the ttl of the leases as its `max_age`. Leases of another ttl belong in
/// another bucket. A lease with a longer ttl is refused with [`NatsError::TtlTooLong`]. A lease
/// with a shorter ttl works, but if its holder dies, it lasts until the `max_age`. (The
/// `create_key_value` of async-nats needs NATS 2.10 or later. If the bucket's stream is created in
/// another way, an older server works.)
///
/// ```no_run
/// use async_context_leases::{NatsStore, lease};
/// use async_context_manager::prelude::*;
/// use async_nats::jetstream::{self, kv};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), async_nats::Error> {
/// let client = async_nats::connect("nats://127.0.0.1:4222").await?;
/// let bucket = kv::Config {
///     bucket: "leases".to_owned(),
///     history: 1,
///     max_age: Duration::from_secs(10),
///     num_replicas: 1, // 3 in a cluster
///     ..kv::Config::default()
/// };
/// let store = NatsStore::new(jetstream::new(client).create_key_value(bucket).await?)?;
/// let report = lease(store.clone(), "report").ttl(store.max_age());
/// let token = report.with(async |lease| Ok(lease.token())).await?;
/// assert!(token > 0);
/// # Ok(())
/// # }
/// ```
///
/// # Whose clock decides
///
/// The server's clock decides. The server stamps each message when it stores the message, and
/// removes the message when the stamp is older than the `max_age`. No client reads a time that
/// another client has written. In a cluster, the leader of the bucket's stream decides by its
/// clock. After an election, the new leader compares the old leader's stamps with its own clock.
/// Both are wall clocks: if a server's clock is set forward, leases end early by as much. The
/// margin of the lease must cover the difference between the clocks of the servers.
///
/// # What is atomic
///
/// JetStream has no scripts. Each write names the revision of the key that it replaces, and the
/// server refuses the write if the key has another revision by now. So a request that arrives late,
/// or twice, changes nothing. All reads go to the leader of the stream, not to a replica that may
/// be behind.
///
/// # The token
///
/// The token is the revision of the write that took the lease. A revision is a number in the
/// sequence of the whole bucket, so the tokens of one name grow, with gaps. They are lost with the
/// bucket. Do not delete a bucket whose tokens protect something.
///
/// # What a bucket can't promise
///
/// - A bucket in memory (`StorageType::Memory`) on one server forgets leases and tokens in a
///   restart.
/// - A bucket on disk on one server survives a restart and a kill. After a power cut it may have
///   forgotten the writes of the last minutes: NATS syncs its files every two minutes, unless
///   `sync_interval` says otherwise (`always`, from NATS 2.10 on). Then a lease may be held twice,
///   and tokens may be given out again.
/// - A bucket with three replicas survives the loss of one server. A power cut at all three has the
///   same effect as at one server.
/// - A mirror of a bucket is behind. Use the bucket itself.
///
/// # Names
///
/// A name may be any text. In the key, each byte other than a letter, digit, `-` or `_` is written
/// as `=` and two hexadecimal digits.
#[derive(Debug, Clone)]
pub struct NatsStore {
    bucket: kv::Store,
    max_age: Duration,
}

/// The error of a [`NatsStore`].
///
/// ```no_run
/// use async_context_leases::{LeaseError, NatsError, NatsStore, lease};
/// use async_context_manager::prelude::*;
/// use async_nats::jetstream;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), async_nats::Error> {
/// let client = async_nats::connect("nats://127.0.0.1:4222").await?;
/// let store = NatsStore::new(jetstream::new(client).get_key_value("leases").await?)?;
/// let long = lease(store.clone(), "report").ttl(store.max_age() * 2);
/// let refused = long.with(async |_| Ok(())).await.unwrap_err();
/// assert!(matches!(refused, LeaseError::Store(NatsError::TtlTooLong { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The bucket keeps its keys for ever, so the lease of a holder that has died would never end.
    #[error("the bucket {0} has no max_age: a lease in it would never end")]
    NoMaxAge(String),
    /// The bucket would remove the lease before the holder expects its end.
    #[error("a lease of {ttl:?} does not fit into a bucket with a max_age of {max_age:?}")]
    TtlTooLong {
        /// The ttl of the lease.
        ttl: Duration,
        /// The `max_age` of the bucket.
        max_age: Duration,
    },
    /// A read failed.
    #[error("the lease can't be read: {0}")]
    Read(#[from] LastRawMessageError),
    /// A write failed.
    #[error("the lease can't be written: {0}")]
    Write(#[from] UpdateError),
}

struct Entry {
    revision: u64,
    /// `None` if the key was deleted.
    held: Option<Held>,
}

struct Held {
    holder: String,
    token: u64,
}

impl Entry {
    /// The value of the key is the holder. A renewal also writes the token, because the revision of
    /// the renewal is a later one.
    fn parse(revision: u64, value: &[u8]) -> Self {
        if value.is_empty() {
            let held = None;
            return Self { revision, held };
        }
        let text = String::from_utf8_lossy(value);
        let (holder, token) = text.split_once(' ').unwrap_or((&text, ""));
        let held = Some(Held {
            holder: holder.to_owned(),
            token: token.parse().unwrap_or(revision),
        });
        Self { revision, held }
    }

    /// Returns the token if this claim has the lease.
    fn token_of(&self, claim: &Claim) -> Option<u64> {
        let held = self.held.as_ref()?;
        (held.holder == claim.holder()).then_some(held.token)
    }
}

fn key(name: &str) -> String {
    // The prefix also keeps the key from being empty.
    let mut key = String::from("lease=");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            key.push(char::from(byte));
        } else {
            let _ = write!(key, "={byte:02X}");
        }
    }
    key
}

/// Returns `None` if somebody else has written the key in the meantime.
fn written<T>(result: Result<T, UpdateError>) -> Result<Option<T>, NatsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
        Err(error) => Err(NatsError::Write(error)),
    }
}

impl NatsStore {
    /// Returns a store that keeps its leases in this bucket. The bucket must hold nothing else.
    ///
    /// ```no_run
    /// # use async_context_leases::{NatsStore, Store};
    /// # use async_nats::jetstream;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), async_nats::Error> {
    /// let client = async_nats::connect("nats://127.0.0.1:4222").await?;
    /// let store = NatsStore::new(jetstream::new(client).get_key_value("leases").await?)?;
    /// assert_eq!(store.current("nobody has this").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NatsError::NoMaxAge`].
    pub fn new(bucket: kv::Store) -> Result<Self, NatsError> {
        let max_age = bucket.stream.cached_info().config.max_age;
        if max_age.is_zero() {
            return Err(NatsError::NoMaxAge(bucket.name));
        }
        Ok(Self { bucket, max_age })
    }

    /// How long the server keeps a lease that is not renewed. No ttl may be longer.
    ///
    /// ```no_run
    /// # use async_context_leases::{NatsStore, lease};
    /// # use async_context_manager::prelude::*;
    /// # use async_nats::jetstream;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), async_nats::Error> {
    /// # let client = async_nats::connect("nats://127.0.0.1:4222").await?;
    /// # let bucket = jetstream::new(client).get_key_value("leases").await?;
    /// let store = NatsStore::new(bucket)?;
    /// let report = lease(store.clone(), "report").ttl(store.max_age());
    /// report.with(async |_| Ok(())).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// Reads from the leader of the bucket's stream.
    async fn read(&self, key: &str) -> Result<Option<Entry>, NatsError> {
        let subject = format!("{}{key}", self.bucket.prefix);
        let message = self.bucket.stream.get_last_raw_message_by_subject(&subject);
        match message.await {
            Ok(message) => Ok(Some(Entry::parse(message.sequence, &message.payload))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(NatsError::Read(error)),
        }
    }
}

impl Store for NatsStore {
    type Error = NatsError;

    async fn acquire(&self, claim: &Claim) -> Result<Option<u64>, NatsError> {
        let (ttl, max_age) = (claim.ttl(), self.max_age);
        if ttl > max_age {
            return Err(NatsError::TtlTooLong { ttl, max_age });
        }
        let key = key(claim.name());
        let revision = match self.read(&key).await? {
            None => 0,
            Some(Entry { held: Some(_), .. }) => return Ok(None),
            Some(Entry { revision, .. }) => revision,
        };
        let value = claim.holder().to_owned().into();
        written(self.bucket.update(key, value, revision).await)
    }

    async fn renew(&self, claim: &Claim) -> Result<bool, NatsError> {
        let key = key(claim.name());
        // Between the read and the write, an earlier renewal of the same holder may arrive, on
        // which the holder had given up. Then the write is refused, but the holder still has the
        // lease.
        while let Some(entry) = self.read(&key).await? {
            let Some(token) = entry.token_of(claim) else {
                break;
            };
            let value = format!("{} {token}", claim.holder()).into();
            let renewed = self.bucket.update(&key, value, entry.revision).await;
            if written(renewed)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn release(&self, claim: &Claim) -> Result<bool, NatsError> {
        let key = key(claim.name());
        while let Some(entry) = self.read(&key).await? {
            if entry.token_of(claim).is_none() {
                break;
            }
            let revision = Some(entry.revision);
            let deleted = self.bucket.delete_expect_revision(&key, revision).await;
            if written(deleted)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn current(&self, name: &str) -> Result<Option<u64>, NatsError> {
        let entry = self.read(&key(name)).await?;
        Ok(entry.and_then(|entry| entry.held).map(|held| held.token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_key_of_its_own() {
        let names = [
            "", "a b", "a=20b", "a.b", ".a", "a", "A", "ä", "a>*", "a-_0",
        ];
        let keys = names.map(key);
        assert_eq!(keys[1], "lease=a=20b");
        assert_eq!(keys[2], "lease=a=3D20b");
        for (index, key) in keys.iter().enumerate() {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_=".contains(c);
            assert!(key.chars().all(is_allowed), "{key}");
            assert!(!keys[..index].contains(key), "{key}");
        }
    }
}
