#![forbid(unsafe_code)]
//! What is reported of a store that fails. In a program of its own, because the hook for reports
//! belongs to the process.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_context_leases::{Lease, MemoryStore, leading};
use async_context_manager::report;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn leading_reports_the_first_error_of_a_store_that_fails() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&told);
    report::set_hook(move |report| hook.lock().unwrap().push(report.to_string()));
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
