use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {}

fn main() {}
