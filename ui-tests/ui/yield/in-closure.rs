use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let lend = |id: u32| yield_!(id);
    lend(1);
    Ok(())
}

fn main() {}
