use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let one = .
}

// It can be called all the same.
async fn user() -> Result<u32, String> {
    context().with(async |id| Ok(*id)).await
}

fn main() {
    let _ = user();
}
