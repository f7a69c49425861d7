use async_context_manager::prelude::*;

struct Pool;

#[async_context]
impl Pool {
    async fn connect(&self) -> Result<u32, String> {
        Ok(1)
    }
}

fn main() {}
