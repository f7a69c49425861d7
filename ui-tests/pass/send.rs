//! Where the value's type has a lifetime in it, a future that has to be `Send` takes the methods that
//! promise it. `ui/use/not-general-enough.rs` is the same with `with_local`, which does not.
#![deny(warnings)]

use async_context_manager::prelude::*;

struct Transaction<'c>(&'c str);

#[async_context]
async fn transaction() -> Result<Transaction<'static>, u32> {
    let (_tx, _) = yield_!(Transaction("open"));
    Ok(())
}

#[async_context]
async fn borrowed(text: &str) -> Result<Transaction<'_>, u32> {
    let (_tx, _) = yield_!(Transaction(text));
    Ok(())
}

async fn query(tx: &mut Transaction<'_>) -> Result<usize, u32> {
    tokio::task::yield_now().await;
    Ok(tx.0.len())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let task = tokio::spawn(async {
        let length = transaction().with(async |tx| query(tx).await).await?;
        let local = "abc".to_owned();
        borrowed(&local)
            .with_scoped(async |tx| Ok::<_, u32>(length + query(tx).await?))
            .await
    });
    assert_eq!(task.await.unwrap(), Ok(7));
}
