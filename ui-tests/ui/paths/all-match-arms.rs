use async_context_manager::prelude::*;

#[async_context]
async fn context(id: Option<u32>) -> Result<u32, String> {
    match id {
        Some(0) => return Err("zero".to_owned()),
        Some(id) => yield_!(id),
        None => yield_!(1),
    };
    Ok(())
}

fn main() {}
