//! What rustc suggests where a context that borrows is used by `with`.
use async_context_manager::prelude::*;

#[async_context]
async fn context(text: &str) -> Result<usize, String> + use<> {
    let (_length, _) = yield_!(text.len());
    Ok(())
}

fn main() {}
