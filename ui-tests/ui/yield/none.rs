use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    let doubled = id * 2;
    Ok(doubled)
}

async fn caller() -> Result<u32, String> {
    context(1).with(async |value| Ok(*value)).await
}

fn main() {}
