#![forbid(unsafe_code)]
//! The store that the docs of `Store` show, on a fake of etcd and of its client.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[expect(
    clippy::unnecessary_wraps,
    clippy::unused_async,
    clippy::unused_self,
    reason = "the signatures are those of the crate"
)]
mod etcd_client;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_context_leases::{Lease, LeaseError, lease, try_lease};
use async_context_manager::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

include!("../../src/etcd_example.rs");

const TTL: Duration = Duration::from_secs(10);

fn store() -> EtcdStore {
    let client = Client::new();
    EtcdStore { client }
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract() {
    let store = store();
    let (first, second) = (Claim::new("n", TTL), Claim::new("n", TTL));
    assert_eq!(store.current("n").await.unwrap(), None);
    assert!(!store.renew(&first).await.unwrap());
    assert!(!store.release(&first).await.unwrap());
    let one = store.acquire(&first).await.unwrap().unwrap();
    assert_eq!(store.acquire(&second).await.unwrap(), None);
    assert!(!store.renew(&second).await.unwrap());
    assert!(!store.release(&second).await.unwrap());
    assert_eq!(store.current("n").await.unwrap(), Some(one));

    sleep(TTL / 2).await;
    let renewed = Instant::now();
    assert!(store.renew(&first).await.unwrap());
    let two = loop {
        if let Some(token) = store.acquire(&second).await.unwrap() {
            break token;
        }
        sleep(TTL / 100).await;
    };
    assert!(renewed.elapsed() >= TTL);
    assert!(renewed.elapsed() < TTL + Duration::from_secs(2));
    assert!(one < two);
    assert!(!store.renew(&first).await.unwrap());
    assert!(!store.release(&first).await.unwrap());
    assert_eq!(store.current("n").await.unwrap(), Some(two));
    assert!(store.release(&second).await.unwrap());
    assert_eq!(store.current("n").await.unwrap(), None);
    let third = Claim::new("n", TTL);
    assert!(two < store.acquire(&third).await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_while_the_body_runs() {
    let store = store();
    let other = store.clone();
    let body = async move |_: &mut Lease| {
        sleep(TTL * 10).await;
        let second = try_lease(other, "n").with(async |_| Ok(())).await;
        assert!(matches!(second, Err(LeaseError::Held)));
        Ok(())
    };
    lease(store, "n").ttl(TTL).with(body).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_of_many_has_it_at_a_time() {
    let store = store();
    let inside = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..20_u64 {
        let (store, inside) = (store.clone(), Arc::clone(&inside));
        tasks.spawn(async move {
            for turn in 0..25_u64 {
                let inside = Arc::clone(&inside);
                let body = async move |_: &mut Lease| {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    let inside = Inside(inside);
                    sleep(Duration::from_millis(1)).await;
                    drop(inside);
                    Ok(())
                };
                let used = lease(store.clone(), "n")
                    .seed(number * 100 + turn)
                    .with(body);
                if turn % 3 == 0 {
                    let moment = Duration::from_micros(number * turn * 100 % 20_000);
                    let _ = timeout(moment, used).await;
                } else {
                    used.await.unwrap();
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    sleep(TTL * 2).await;
    assert_eq!(store.current("n").await.unwrap(), None);
    assert_eq!(store.client.leases(), 0);
}

struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
