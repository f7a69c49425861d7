//! A lease: one of many processes does a piece of work, and stops when it may no longer.
//!
//! Use it for work that several instances of a service must not do at the same time, on whatever
//! machine they run. The lease is renewed beside the body. If the store can't be reached for too
//! long, the body is dropped *before* another process may begin, and the use fails with `Lost`.
//!
//! No lease can stop a write that is already on its way. So each write carries the token of its
//! lease, and the target refuses a token that is lower than one it has seen.
//!
//! `async-context-leases` has stores for Redis, PostgreSQL and NATS. A complete program on Redis is
//! `examples/distributed_lock.rs`. For a lock that ends with a connection, see `advisory_lock.rs`.

use std::future::pending;
use std::time::Duration;

use async_context_leases::{LeaseError, MemoryStore, Store, Unreachable, lease};
use async_context_manager::prelude::*;
use tokio::sync::Mutex;

/// A file store, a database or a queue that checks tokens.
#[derive(Default)]
struct Target {
    token: u64,
    text: &'static str,
}

impl Target {
    fn write(&mut self, token: u64, text: &'static str) -> bool {
        let accepted = token >= self.token;
        if accepted {
            (self.token, self.text) = (token, text);
        }
        accepted
    }
}

async fn report<S: Store>(
    store: S,
    target: &Mutex<Target>,
    text: &'static str,
) -> Result<u64, LeaseError<S::Error>> {
    lease(store, "nightly report")
        .ttl(Duration::from_secs(10))
        .with(async |lease| {
            let mut target = target.lock().await;
            let accepted = target.write(lease.token(), text);
            accepted.then_some(lease.token()).ok_or(LeaseError::Lost)
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_cut_off_stops_and_the_next_one_goes_on() {
    let (target, one) = (Mutex::<Target>::default(), MemoryStore::new());
    let two = one.connect();
    assert_eq!(report(one.clone(), &target, "monday").await, Ok(1));

    // The first process hangs, and nothing that it sends arrives any more.
    let hanging = lease(one.clone(), "nightly report").with(async |lease| {
        assert_eq!(lease.token(), 2);
        one.cut();
        pending::<Result<(), LeaseError<Unreachable>>>().await
    });
    // The second process waits until the lease of the first one is over.
    let (first, second) = tokio::join!(hanging, report(two, &target, "tuesday"));
    assert_eq!(first, Err(LeaseError::Lost));
    assert_eq!(second, Ok(3));

    // A write of the first process that arrives late is refused.
    assert!(!target.lock().await.write(2, "late"));
    assert_eq!(target.into_inner().text, "tuesday");
}
