use async_context_manager::prelude::*;

#[async_context]
async fn context<'a>(text: &'a str) -> Result<usize, &'a str> {
    yield_!(text.len());
    Ok(())
}

fn main() {}
