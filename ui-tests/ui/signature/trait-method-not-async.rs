use async_context_manager::prelude::*;

trait Open {
    #[async_context]
    fn open(&self) -> Result<u32, String>;
}

fn main() {}
