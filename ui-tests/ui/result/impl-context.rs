use async_context_manager::prelude::*;

#[async_context]
async fn context() -> impl AsyncContext<Value = u32, Error = String> {
    yield_!(1);
    Ok(())
}

fn main() {}
