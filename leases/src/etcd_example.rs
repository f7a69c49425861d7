use async_context_leases::{Claim, Store};
use etcd_client::{Client, Compare, CompareOp, Error, KeyValue, PutOptions, ResponseHeader};
use etcd_client::{Txn, TxnOp};

#[derive(Clone)]
struct EtcdStore {
    client: Client,
}

impl EtcdStore {
    async fn read(&self, name: &str) -> Result<Option<KeyValue>, Error> {
        let mut found = self.client.kv_client().get(name, None).await?;
        Ok(found.take_kvs().pop())
    }
}

impl Store for EtcdStore {
    type Error = Error;

    /// A lease of etcd has no name. The name is a key that etcd removes together with the lease.
    async fn acquire(&self, claim: &Claim) -> Result<Option<u64>, Error> {
        // Saves a lease of etcd if somebody else has the key.
        if self.read(claim.name()).await?.is_some() {
            return Ok(None);
        }
        let seconds = claim.ttl().as_secs() + 1;
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let mut leases = self.client.lease_client();
        let lease = leases.grant(seconds, None).await?.id();
        let is_free = Compare::create_revision(claim.name(), CompareOp::Equal, 0);
        let bound = PutOptions::new().with_lease(lease);
        let put = TxnOp::put(claim.name(), claim.holder(), Some(bound));
        let take = Txn::new().when([is_free]).and_then([put]);
        let taken = self.client.kv_client().txn(take).await?;
        if !taken.succeeded() {
            leases.revoke(lease).await?;
            return Ok(None);
        }
        // The number of this change in the history of etcd, which only grows.
        let revision = taken.header().map_or(0, ResponseHeader::revision);
        Ok(u64::try_from(revision).ok())
    }

    async fn renew(&self, claim: &Claim) -> Result<bool, Error> {
        let key = self.read(claim.name()).await?;
        let Some(key) = key.filter(|key| key.value() == claim.holder().as_bytes()) else {
            return Ok(false);
        };
        // Only this holder uses the lease of etcd. If the lease has ended, the call fails.
        let mut leases = self.client.lease_client();
        let (mut keeper, mut answers) = leases.keep_alive(key.lease()).await?;
        keeper.keep_alive().await?;
        let answer = answers.message().await?;
        Ok(answer.is_some_and(|answer| answer.ttl() > 0))
    }

    /// The lease of etcd then has no key to remove, and ends after its ttl.
    async fn release(&self, claim: &Claim) -> Result<bool, Error> {
        let is_ours = Compare::value(claim.name(), CompareOp::Equal, claim.holder());
        let delete = TxnOp::delete(claim.name(), None);
        let give_back = Txn::new().when([is_ours]).and_then([delete]);
        let ended = self.client.kv_client().txn(give_back).await?;
        Ok(ended.succeeded())
    }

    async fn current(&self, name: &str) -> Result<Option<u64>, Error> {
        let key = self.read(name).await?;
        Ok(key.and_then(|key| u64::try_from(key.create_revision()).ok()))
    }
}
