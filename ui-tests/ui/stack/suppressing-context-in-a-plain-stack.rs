use async_context_manager::prelude::*;

#[async_context(suppress)]
async fn forgiving() -> Result<(), u32> {
    yield_!();
    Ok(Suppression::Suppress)
}

async fn user() -> Result<(), u32> {
    ExitStack::scope(async |stack| {
        stack.enter(forgiving()).await?;
        Ok(())
    })
    .await
}

fn main() {}

// Three errors of rustc's for one bound: at the call, in its type, and where that is awaited.
