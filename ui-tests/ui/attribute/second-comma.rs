use async_context_manager::prelude::*;

#[async_context(suppress,,)]
async fn context() -> Result<u32, String> {
    yield_!(1);
    Ok(Suppression::Propagate)
}

fn main() {}
