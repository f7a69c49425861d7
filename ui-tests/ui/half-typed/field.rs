//! One error more than one: so it is without the attribute.
use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let text = String::new();
    text.
}

async fn user() -> Result<u32, String> {
    context().with(async |id| Ok(*id)).await
}

fn main() {
    let _ = user();
}
