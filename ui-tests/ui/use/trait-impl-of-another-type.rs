use async_context_manager::prelude::*;

trait Open {
    #[async_context]
    async fn open(&self) -> Result<u32, String>;
}

struct Db;

impl Open for Db {
    #[async_context]
    async fn open(&self) -> Result<String, String> {
        yield_!(String::new());
        Ok(())
    }
}

fn main() {}
