use async_context_manager::prelude::*;

#[async_context]
async fn context() -> u32 {
    yield_!(1);
    1
}

fn main() {}
