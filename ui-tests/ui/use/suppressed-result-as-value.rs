use async_context_manager::prelude::*;

#[async_context(suppress)]
async fn context() -> Result<u32, String> {
    yield_!(1);
    Ok(Suppression::Suppress)
}

async fn user() -> Result<u32, String> {
    context().with(async |value| Ok(*value)).await
}

fn main() {}
