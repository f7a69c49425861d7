use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Option<u32> {
    yield_!(1);
    None
}

fn main() {}
