use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    if true {
    yield_!(1);
    Ok(())
}

async fn user() -> Result<u32, String> {
    context().with(async |id| Ok(*id)).await
}

fn main() {
    let _ = user();
}
