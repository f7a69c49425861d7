#![forbid(unsafe_code)]
//! What is reported of a store that fails. In a program of its own, because the hook for reports
//! belongs to the process.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_context_leases::{Lease, LeaseError, MemoryStore, Unreachable, leading, lease};
use async_context_manager::prelude::*;
use async_context_manager::{detached, report};
use tokio::time::sleep;

type Told = Arc<Mutex<Vec<String>>>;

/// Returns what is reported from now on.
fn told() -> Told {
    let told = Told::default();
    let hook = Arc::clone(&told);
    report::set_hook(move |report| hook.lock().unwrap().push(report.to_string()));
    told
}

/// One test, because there is one hook.
#[tokio::test(start_paused = true)]
async fn what_is_reported() {
    leading_reports_the_first_error_of_a_store_that_fails().await;
    a_loss_that_the_exit_returns_is_not_reported_as_well().await;
}

async fn leading_reports_the_first_error_of_a_store_that_fails() {
    let told = told();
    let store = MemoryStore::new();
    store.refuse();
    let work = async |lease: &mut Lease| Ok(lease.token());
    let result = tokio::spawn(leading(store.clone(), "n", work));
    sleep(Duration::from_secs(60)).await;
    store.mend();
    assert_eq!(result.await.unwrap(), Ok(1));
    let told = told.lock().unwrap().join("\n");
    let expected = "async context `async_context_leases::leading`: exit failed: Store(Unreachable)";
    assert_eq!(told, expected);
}

async fn a_loss_that_the_exit_returns_is_not_reported_as_well() {
    /// A context whose exit takes long.
    #[async_context]
    async fn slow() -> Result<(), LeaseError<Unreachable>> {
        let ((), _) = yield_!(());
        sleep(Duration::from_secs(9)).await;
        Ok(())
    }

    let told = told();
    let store = MemoryStore::new();
    let body = async |_: &mut Lease| {
        drop(slow().guard().await?); // the exit of the lease waits for this one
        store.forget("n");
        Ok(())
    };
    let held = lease(store.clone(), "n").with(body).await;
    assert_eq!(held, Err(LeaseError::Lost));

    let held = lease(store.clone(), "n").guard().await.unwrap();
    drop(slow().guard().await.unwrap());
    store.forget("n");
    assert_eq!(Guard::close(held).await, Err(LeaseError::Lost));

    // Here nobody but the hook is told.
    let held = lease(store.clone(), "n").guard().await.unwrap();
    drop(slow().guard().await.unwrap());
    store.forget("n");
    drop(held);
    detached::drain().await;
    let told = told.lock().unwrap().join("\n");
    assert!(told.ends_with("exit failed: Lost"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
