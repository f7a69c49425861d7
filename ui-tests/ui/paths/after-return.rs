use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    return Err("never".to_owned());
    yield_!(1);
    Ok(())
}

fn main() {}
