use async_context_manager::prelude::*;

#[async_context]
async fn context() -> {
    yield_!(1);
    Ok(())
}

fn main() {}
