use async_context_manager::prelude::*;

#[async_context]
async fn context(text: &str) -> &str {
    yield_!(text);
    text
}

fn main() {}
