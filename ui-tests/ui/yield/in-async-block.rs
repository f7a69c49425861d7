use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    async {
        yield_!(1);
    }
    .await;
    Ok(())
}

fn main() {}
