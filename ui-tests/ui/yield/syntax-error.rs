use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let one = ;
    yield_!(one);
    Ok(())
}

fn main() {}
