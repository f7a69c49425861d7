use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let value: u32 = cancellable!(std::future::ready(1));
    yield_!(value);
    Ok(())
}

fn main() {}
