use async_context_manager::prelude::*;

async fn refuse() -> Result<(), String> {
    Err("refused".to_owned())
}

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    if id > 0 {
        yield_!(id);
        Ok(())
    } else {
        refuse().await
    }
}

fn main() {}
