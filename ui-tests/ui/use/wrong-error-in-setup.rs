use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<i32, String> {
    let value = "1".parse::<i32>()?;
    yield_!(value);
    Ok(())
}

fn main() {}
