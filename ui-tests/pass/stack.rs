//! What a stack takes, held across functions and tasks; `ui/stack` is what it does not.
#![deny(warnings)]

use async_context_manager::prelude::*;

#[async_context]
async fn numbered(number: u32) -> Result<u32, String> {
    let (number, _) = yield_!(number);
    if number > 8 {
        Err(format!("{number} is too much"))
    } else {
        Ok(())
    }
}

#[async_context(suppress)]
async fn forgiving() -> Result<(), String> {
    yield_!();
    Ok(Suppression::Suppress)
}

async fn many(count: u32) -> Result<u32, String> {
    ExitStack::scope(async |stack| {
        let mut leases = Vec::new();
        for number in 0..count {
            leases.push(stack.enter(numbered(number)).await?);
        }
        let first = leases.remove(0);
        first.release().await?;
        stack.defer(async |outcome| {
            assert!(outcome.is_completed());
            Ok(())
        });
        stack.keep("a plain value".to_owned());
        Ok(leases.iter().map(|number| **number).sum())
    })
    .await
}

async fn opened() -> Result<ExitStack<String>, String> {
    let mut stack = ExitStack::new();
    *stack.enter(numbered(1)).await? += 7;
    Ok(stack.take())
}

async fn forgiven() -> Result<Option<u32>, String> {
    ExitStack::suppressing_scope(async |stack| {
        drop(stack.enter(numbered(1)).await?);
        drop(stack.enter(forgiving()).await?);
        Err("forgiven".to_owned())
    })
    .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let task = tokio::spawn(async {
        let sum = many(4).await?;
        let stack = opened().await?;
        assert_eq!(forgiven().await?, None);
        stack.exit(Ok(sum)).await
    });
    assert_eq!(task.await.unwrap(), Ok(6));
}
