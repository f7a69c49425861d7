use async_context_manager::prelude::*;

#[async_context]
async fn context(text: &str) -> Result<usize, String> {
    yield_!(text.len());
    Ok(())
}

async fn user() -> Result<usize, String> {
    let text = String::from("text");
    let stack = ExitStack::<String>::new();
    let length = *stack.enter(context(&text)).await?;
    stack.exit(Ok(length)).await
}

fn main() {
    let _ = user();
}
