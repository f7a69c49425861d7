use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    if id == 0 {
        yield_!(id);
        return Err("zero".to_owned());
    }
    Ok(())
}

fn main() {}
