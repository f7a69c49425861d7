use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<(u32, u32, u32), String> {
    yield_!(1, 2, 3);
    Ok(())
}

fn main() {}
