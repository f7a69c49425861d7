use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let (value, _) = yield 1;
    drop(value.to_string());
    Ok(())
}

fn main() {}
