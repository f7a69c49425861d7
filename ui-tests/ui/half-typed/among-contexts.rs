use async_context_manager::prelude::*;

contexts! {
    async fn context() -> Result<u32, String> {
        let text = String::new();
        text.
    }

    async fn other() -> Result<u32, String> {
        yield 1;
        Ok(())
    }
}

async fn user() -> Result<u32, String> {
    other().with(async |id| Ok(*id)).await?;
    context().with(async |id| Ok(*id)).await
}

fn main() {
    let _ = user();
}
