use async_context_manager::prelude::*;

#[async_context]
async fn context(ids: Vec<u32>) -> Result<u32, String> {
    for id in ids {
        if id > 0 {
            yield_!(id);
            break;
        }
    }
    Ok(())
}

fn main() {}
