use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    match id {
        1 if yield_!(id).1.is_completed() => Ok(()),
        _ => Ok(()),
    }
}

fn main() {}
