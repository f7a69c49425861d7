use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    yield_!(id);
    Ok(())
}

#[within(context(1) => id, sent)]
async fn user() -> Result<u32, String> {
    Ok(*id)
}

fn main() {}
