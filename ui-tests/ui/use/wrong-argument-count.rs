use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<String, u32> {
    let (text, _) = yield_!(String::new());
    drop(text);
    Ok(())
}

async fn user() -> Result<(), u32> {
    context(1).with(async |_| Ok(())).await
}

fn main() {}
