//! In a task, a value with a lifetime in its type does not go with the option `local`.
use async_context_manager::prelude::*;

struct Transaction<'c>(&'c str);

#[async_context]
async fn transaction() -> Result<Transaction<'static>, String> {
    yield_!(Transaction("open"));
    Ok(())
}

async fn query(tx: &mut Transaction<'_>) -> Result<usize, String> {
    Ok(tx.0.len())
}

#[within(transaction() => tx, local)]
async fn user() -> Result<usize, String> {
    query(tx).await
}

fn main() {
    tokio::spawn(async { user().await });
}
