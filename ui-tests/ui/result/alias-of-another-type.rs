use async_context_manager::prelude::*;

type Answer = Vec<u32>;

#[async_context]
async fn context() -> Answer {
    yield_!(1);
    Ok(())
}

fn main() {}
