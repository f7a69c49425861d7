use async_context_manager::prelude::*;

#[async_context]
fn context() -> Result<u32, String> {
    yield_!(1);
    Ok(())
}

async fn caller() -> Result<u32, String> {
    context().with(async |value| Ok(*value)).await
}

fn main() {}
