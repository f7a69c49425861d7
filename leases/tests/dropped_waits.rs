#![forbid(unsafe_code)]
//! A wait that is dropped. In a binary of its own: it counts what is detached in the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::time::Duration;

use async_context_leases::{MemoryStore, Store as _, lease, try_lease};
use async_context_manager::detached;
use async_context_manager::prelude::*;
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_leaves_nothing() {
    let store = MemoryStore::new();
    let slow = store.connect();
    slow.delay(|| (Duration::from_millis(20), Duration::from_millis(20)));

    // Others have the lease. Dropped in a pause, it is gone on the spot; in a request, with
    // its answer.
    let held = lease(store.clone(), "n").guard().await.unwrap();
    let mut on_the_spot = 0;
    let pause = Duration::from_millis(80);
    for moment in 0..300 {
        let wait = lease(slow.clone(), "n")
            .backoff(pause, pause)
            .with(async |_| Ok(()));
        assert!(timeout(Duration::from_millis(moment), wait).await.is_err());
        on_the_spot += u32::from(detached::count() == 0);
        sleep(Duration::from_millis(60)).await;
        assert_eq!(detached::count(), 0, "dropped after {moment} ms");
    }
    assert!(on_the_spot > 100, "{on_the_spot}");
    Guard::close(held).await.unwrap();

    // Nobody has it. Dropped in the request that gets it, and in the one that releases it.
    for moment in 1..80 {
        let wait = lease(slow.clone(), "n").with(async |_| Ok(()));
        assert!(timeout(Duration::from_millis(moment), wait).await.is_err());
        sleep(Duration::from_millis(80)).await;
        assert_eq!(detached::count(), 0, "dropped after {moment} ms");
        assert_eq!(
            store.current("n").await,
            Ok(None),
            "dropped after {moment} ms"
        );
    }
    try_lease(store, "n").with(async |_| Ok(())).await.unwrap();
}
