use async_context_manager::prelude::*;

trait Open {
    #[async_context]
    async fn open(&self) -> Result<u32, String> {
        yield_!(1);
        Ok(())
    }
}

fn main() {}

// Two errors of rustc's: `self` is in the code before it runs, and while it runs.
