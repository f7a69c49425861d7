use async_context_manager::prelude::*;

#[async_context]
async fn context(id: Option<u32>) -> Result<u32, String> {
    match id {
        Some(id) => {
            yield_!(id);
        }
        None => {}
    }
    Ok(())
}

fn main() {}
