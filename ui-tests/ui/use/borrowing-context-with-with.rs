use async_context_manager::prelude::*;

#[async_context]
async fn context(text: &str) -> Result<usize, String> {
    yield_!(text.len());
    Ok(())
}

async fn user() -> Result<usize, String> {
    let text = String::from("text");
    context(&text).with(async |length| Ok(*length)).await
}

fn main() {}
