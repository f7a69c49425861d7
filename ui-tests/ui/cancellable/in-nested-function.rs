use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    async fn wait() -> u32 {
        cancellable!(std::future::ready(1)).await
    }
    yield_!(wait().await);
    Ok(())
}

fn main() {}
