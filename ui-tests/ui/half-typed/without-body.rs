use async_context_manager::prelude::*;

contexts! {
    async fn context() -> Result<u32, String>

    async fn other() -> Result<u32, String> {
        yield 1;
        Ok(())
    }
}

fn main() {}
