use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    if id == 0 {
        return;
    }
    yield_!(id);
    Ok(())
}

fn main() {}
