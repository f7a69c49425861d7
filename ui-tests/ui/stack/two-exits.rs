use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<String, u32> {
    let (_text, _) = yield_!(String::new());
    Ok(())
}

async fn user() -> Result<(), u32> {
    let stack = ExitStack::<u32>::new();
    stack.enter(context()).await?;
    stack.exit(Ok(())).await?;
    stack.exit(Ok(())).await
}

fn main() {}
