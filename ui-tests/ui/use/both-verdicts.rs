use async_context_manager::prelude::*;

#[async_context(suppress)]
async fn context() -> Result<u32, String> {
    let (_, outcome) = yield_!(1);
    if outcome.is_failed() {
        return Ok(Suppression::Suppress);
    }
    Ok(())
}

fn main() {}
