use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<String, u32> {
    yield_!(String::new());
    Ok(())
}

async fn body(text: &mut String) -> Result<usize, String> {
    Ok(text.len())
}

async fn user() -> Result<usize, u32> {
    context().with(body).await
}

fn main() {
    let _ = user();
}

// Three errors of rustc's for one bound: at the call, in its type, and where that is awaited.
