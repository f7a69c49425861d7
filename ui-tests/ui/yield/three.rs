use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    yield_!(1);
    yield_!(2);
    yield_!(3);
    Ok(())
}

fn main() {}
