use async_context_manager::prelude::*;

struct Transaction<'c>(&'c str);

#[async_context]
async fn transaction() -> Result<Transaction<'static>, u32> {
    let (_tx, _) = yield_!(Transaction("open"));
    Ok(())
}

async fn query(tx: &mut Transaction<'_>) -> Result<usize, u32> {
    Ok(tx.0.len())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // The value's type has a lifetime, and a spawned future has to be `Send`: that takes `with`,
    // as in `transaction().with(async |tx| query(tx).await)`.
    let task = tokio::spawn(async { transaction().with_local(async |tx| query(tx).await).await });
    drop(task.await);
}
