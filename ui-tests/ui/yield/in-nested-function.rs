use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    async fn inner() -> Result<(), String> {
        yield_!(1);
        Ok(())
    }
    inner().await
}

fn main() {}
