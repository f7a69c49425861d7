use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<String, u32> {
    let (text, _) = yield_!(String::new());
    drop(text);
    Ok(())
}

async fn user() -> Result<(), u32> {
    context().with(|text| Ok(())).await
}

fn main() {}

// Three errors of rustc's for one bound: at the call, in its type, and where that is awaited.
