//! In a task, a value with a lifetime in its type needs the option `send`.
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

#[within(transaction() => tx)]
async fn user() -> Result<usize, String> {
    query(tx).await
}

fn main() {
    tokio::spawn(async { user().await });
}
