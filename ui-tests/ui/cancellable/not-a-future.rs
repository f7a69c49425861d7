use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    cancellable!(1).await;
    yield_!(1);
    Ok(())
}

fn main() {}
