use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<String, u32> {
    let (_text, _) = yield_!(String::new());
    Ok(())
}

async fn user() -> Result<usize, u32> {
    let text = ExitStack::<u32>::scope(async |stack| stack.enter(context()).await).await?;
    Ok(text.len())
}

fn main() {}
