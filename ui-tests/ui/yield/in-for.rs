use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    for id in 0..3 {
        yield_!(id);
    }
    Ok(())
}

fn main() {}
