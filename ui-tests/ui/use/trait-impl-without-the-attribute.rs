use async_context_manager::prelude::*;

trait Open: Sync {
    #[async_context]
    async fn open(&self) -> Result<u32, String>;
}

struct Pool;

impl Open for Pool {
    async fn open(&self) -> Result<u32, String> {
        Ok(1)
    }
}

fn main() {}
