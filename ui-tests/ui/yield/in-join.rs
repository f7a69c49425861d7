use async_context_manager::prelude::*;

async fn nothing() {}

#[async_context]
async fn context() -> Result<u32, String> {
    tokio::join!(nothing(), async { yield_!(1) });
    Ok(())
}

fn main() {}
