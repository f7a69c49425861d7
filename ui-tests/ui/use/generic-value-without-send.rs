use async_context_manager::prelude::*;

#[async_context]
async fn context<T>(value: T) -> Result<T, String> {
    yield_!(value);
    Ok(())
}

fn main() {}
