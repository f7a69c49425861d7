//! What uses contexts can be spawned, whether they are functions, methods or generic.
#![deny(warnings)]

use std::sync::Arc;

use async_context_manager::prelude::*;

#[async_context]
async fn owned(text: String) -> Result<String, String> {
    let (text, _) = yield_!(text);
    drop(text);
    Ok(())
}

#[async_context]
async fn borrowed(text: &str) -> Result<usize, String> {
    yield_!(text.len());
    Ok(())
}

struct Pool {
    size: usize,
}

impl Pool {
    #[async_context]
    async fn connection(self: Arc<Self>, add: usize) -> Result<usize, String> {
        tokio::task::yield_now().await;
        let (size, _) = yield_!(self.size + add);
        drop(size.to_string());
        Ok(())
    }
}

trait Open: Send + Sync + 'static {
    #[async_context]
    async fn open(self: Arc<Self>) -> Result<usize, String>;
}

impl Open for Pool {
    #[async_context]
    async fn open(self: Arc<Self>) -> Result<usize, String> {
        yield_!(self.size);
        Ok(())
    }
}

async fn generic<O: Open>(open: Arc<O>) -> Result<usize, String> {
    open.open().with(async |size| Ok(*size)).await
}

fn context_of<C>(context: C) -> impl Future<Output = Result<(), String>> + Send
where
    C: AsyncContext<Error = String, Verdict = ()> + 'static,
{
    async move {
        let mut context = context;
        let value = context.enter().await?;
        context.exit(value, &Outcome::Completed).await
    }
}

struct Transaction<'c>(&'c str);

#[async_context]
async fn transaction() -> Result<Transaction<'static>, String> {
    yield_!(Transaction("open"));
    Ok(())
}

async fn query(tx: &mut Transaction<'_>) -> Result<usize, String> {
    tokio::task::yield_now().await;
    Ok(tx.0.len())
}

/// Borrows its arguments, and its context's value has a lifetime in its type.
#[within(transaction() => tx)]
async fn within_a_transaction(name: &str, log: &mut Vec<usize>) -> Result<usize, String> {
    log.push(query(tx).await?);
    Ok(log.len() + name.len())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let task = tokio::spawn(async { within_a_transaction("a", &mut vec![1]).await });
    assert_eq!(task.await.unwrap(), Ok(3));
    let pool = Arc::new(Pool { size: 1 });
    let task = tokio::spawn(async {
        let length = owned("abc".to_owned())
            .with(async |text| Ok(text.len()))
            .await?;
        let local = "de".to_owned();
        let more = borrowed(&local)
            .with_scoped(async |length| Ok(*length))
            .await?;
        Ok::<_, String>(length + more)
    });
    assert_eq!(task.await.unwrap(), Ok(5));
    let task = tokio::spawn(Arc::clone(&pool).connection(1).with(async |size| Ok(*size)));
    assert_eq!(task.await.unwrap(), Ok(2));
    assert_eq!(
        tokio::spawn(generic(Arc::clone(&pool))).await.unwrap(),
        Ok(1)
    );
    assert_eq!(
        tokio::spawn(context_of(pool.connection(0))).await.unwrap(),
        Ok(())
    );
}
