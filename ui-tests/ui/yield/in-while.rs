use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let mut id = 0;
    while yield_!(id).1.is_completed() {
        id += 1;
    }
    Ok(())
}

fn main() {}
