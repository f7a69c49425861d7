use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let (value, outcome) = yield_!(1);
    if !outcome.is_completed() {
        yield_!(value);
    }
    Ok(())
}

fn main() {}
