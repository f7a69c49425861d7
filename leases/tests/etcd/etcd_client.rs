//! A fake: what the store uses of the crate `etcd-client`, with the same names, and of etcd. A
//! build of the crate itself asks for `protoc`, which not every machine has.
//!
//! Each request takes two milliseconds, and is done after the first one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

const WAY: Duration = Duration::from_millis(1);

#[derive(Debug, Error)]
#[error("etcd has no such lease")]
pub(crate) struct Error;

#[derive(Debug, Clone)]
pub(crate) struct KeyValue {
    value: Vec<u8>,
    create_revision: i64,
    lease: i64,
}

impl KeyValue {
    pub(crate) fn value(&self) -> &[u8] {
        &self.value
    }

    pub(crate) fn create_revision(&self) -> i64 {
        self.create_revision
    }

    pub(crate) fn lease(&self) -> i64 {
        self.lease
    }
}

#[derive(Debug, Default)]
struct Etcd {
    revision: i64,
    keys: BTreeMap<String, KeyValue>,
    /// The ttl of each lease, and its end.
    leases: BTreeMap<i64, (Duration, Instant)>,
    last_lease: i64,
}

impl Etcd {
    /// Removes the leases that are over, with their keys.
    fn expire(&mut self) {
        let now = Instant::now();
        self.leases.retain(|_, (_, until)| now < *until);
        let leases = &self.leases;
        self.keys.retain(|_, key| leases.contains_key(&key.lease));
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Client(Arc<Mutex<Etcd>>);

impl Client {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn kv_client(&self) -> Self {
        self.clone()
    }

    pub(crate) fn lease_client(&self) -> Self {
        self.clone()
    }

    /// How many leases there are.
    pub(crate) fn leases(&self) -> usize {
        self.etcd().leases.len()
    }

    fn etcd(&self) -> MutexGuard<'_, Etcd> {
        let mut etcd = self.0.lock().unwrap();
        etcd.expire();
        etcd
    }

    async fn request<R>(&self, act: impl FnOnce(&mut Etcd) -> R) -> R {
        sleep(WAY).await;
        let answer = act(&mut self.etcd());
        sleep(WAY).await;
        answer
    }

    pub(crate) async fn get(&mut self, key: &str, _: Option<()>) -> Result<GetResponse, Error> {
        let get = |etcd: &mut Etcd| etcd.keys.get(key).cloned();
        Ok(GetResponse(self.request(get).await))
    }

    pub(crate) async fn grant(&mut self, ttl: i64, _: Option<()>) -> Result<Grant, Error> {
        let ttl = Duration::from_secs(ttl.unsigned_abs());
        let grant = |etcd: &mut Etcd| {
            etcd.last_lease += 1;
            let until = Instant::now() + ttl;
            etcd.leases.insert(etcd.last_lease, (ttl, until));
            Grant(etcd.last_lease)
        };
        Ok(self.request(grant).await)
    }

    pub(crate) async fn revoke(&mut self, lease: i64) -> Result<(), Error> {
        let revoke = |etcd: &mut Etcd| etcd.leases.remove(&lease);
        self.request(revoke).await.map(drop).ok_or(Error)
    }

    pub(crate) async fn keep_alive(&mut self, lease: i64) -> Result<(Keeper, Answers), Error> {
        let answers = Arc::default();
        let keeper = Keeper {
            client: self.clone(),
            lease,
            answers: Arc::clone(&answers),
        };
        Ok((keeper, Answers(answers)))
    }

    pub(crate) async fn txn(&mut self, txn: Txn) -> Result<TxnResponse, Error> {
        self.request(|etcd| {
            let succeeded = txn.when.iter().all(|compare| compare.holds(etcd));
            if succeeded {
                etcd.revision += 1;
                for op in txn.then {
                    op.run(etcd)?;
                }
            }
            Ok(TxnResponse {
                succeeded,
                header: ResponseHeader(etcd.revision),
            })
        })
        .await
    }
}

pub(crate) struct GetResponse(Option<KeyValue>);

impl GetResponse {
    pub(crate) fn take_kvs(&mut self) -> Vec<KeyValue> {
        self.0.take().into_iter().collect()
    }
}

pub(crate) struct Grant(i64);

impl Grant {
    pub(crate) fn id(&self) -> i64 {
        self.0
    }
}

/// Sends for a lease that it be kept; the time that is left comes by `Answers`.
pub(crate) struct Keeper {
    client: Client,
    lease: i64,
    answers: Arc<Mutex<Vec<i64>>>,
}

impl Keeper {
    pub(crate) async fn keep_alive(&mut self) -> Result<(), Error> {
        let keep = |etcd: &mut Etcd| match etcd.leases.get_mut(&self.lease) {
            Some((ttl, until)) => {
                *until = Instant::now() + *ttl;
                i64::try_from(ttl.as_secs()).unwrap()
            }
            None => 0,
        };
        let left = self.client.request(keep).await;
        self.answers.lock().unwrap().push(left);
        Ok(())
    }
}

pub(crate) struct Answers(Arc<Mutex<Vec<i64>>>);

impl Answers {
    pub(crate) async fn message(&mut self) -> Result<Option<Answer>, Error> {
        Ok(self.0.lock().unwrap().pop().map(Answer))
    }
}

pub(crate) struct Answer(i64);

impl Answer {
    pub(crate) fn ttl(&self) -> i64 {
        self.0
    }
}

pub(crate) enum CompareOp {
    Equal,
}

pub(crate) enum Compare {
    CreateRevision(String, i64),
    Value(String, Vec<u8>),
}

impl Compare {
    pub(crate) fn create_revision(key: &str, _: CompareOp, revision: i64) -> Self {
        Self::CreateRevision(key.to_owned(), revision)
    }

    pub(crate) fn value(key: &str, _: CompareOp, value: &str) -> Self {
        Self::Value(key.to_owned(), value.into())
    }

    fn holds(&self, etcd: &Etcd) -> bool {
        match self {
            Self::CreateRevision(key, revision) => {
                let found = etcd.keys.get(key).map_or(0, |key| key.create_revision);
                found == *revision
            }
            Self::Value(key, value) => etcd.keys.get(key).is_some_and(|key| key.value == *value),
        }
    }
}

pub(crate) struct PutOptions(i64);

impl PutOptions {
    pub(crate) fn new() -> Self {
        Self(0)
    }

    pub(crate) fn with_lease(self, lease: i64) -> Self {
        Self(lease)
    }
}

pub(crate) enum TxnOp {
    Put(String, Vec<u8>, i64),
    Delete(String),
}

impl TxnOp {
    pub(crate) fn put(key: &str, value: &str, options: Option<PutOptions>) -> Self {
        let lease = options.map_or(0, |options| options.0);
        Self::Put(key.to_owned(), value.into(), lease)
    }

    pub(crate) fn delete(key: &str, _: Option<()>) -> Self {
        Self::Delete(key.to_owned())
    }

    fn run(self, etcd: &mut Etcd) -> Result<(), Error> {
        match self {
            Self::Put(key, value, lease) => {
                if !etcd.leases.contains_key(&lease) {
                    return Err(Error);
                }
                let create_revision = etcd.revision;
                let value = KeyValue {
                    value,
                    create_revision,
                    lease,
                };
                etcd.keys.insert(key, value);
            }
            Self::Delete(key) => {
                etcd.keys.remove(&key);
            }
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Txn {
    when: Vec<Compare>,
    then: Vec<TxnOp>,
}

impl Txn {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn when(mut self, compares: impl Into<Vec<Compare>>) -> Self {
        self.when = compares.into();
        self
    }

    pub(crate) fn and_then(mut self, ops: impl Into<Vec<TxnOp>>) -> Self {
        self.then = ops.into();
        self
    }
}

pub(crate) struct TxnResponse {
    succeeded: bool,
    header: ResponseHeader,
}

impl TxnResponse {
    pub(crate) fn succeeded(&self) -> bool {
        self.succeeded
    }

    pub(crate) fn header(&self) -> Option<&ResponseHeader> {
        Some(&self.header)
    }
}

pub(crate) struct ResponseHeader(i64);

impl ResponseHeader {
    pub(crate) fn revision(&self) -> i64 {
        self.0
    }
}
