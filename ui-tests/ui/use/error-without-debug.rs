use async_context_manager::prelude::*;

struct Silent;

#[async_context]
async fn context() -> Result<u32, Silent> {
    yield_!(1);
    Ok(())
}

fn main() {}
