use async_context_manager::prelude::*;

#[async_context]
async fn context(text: &str) -> Result<usize, String> {
    yield_!(text.len());
    Ok(())
}

#[within(context(&text) => length)]
async fn user(text: String) -> Result<usize, String> {
    Ok(*length)
}

fn main() {}
