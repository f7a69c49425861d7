use async_context_manager::prelude::*;

async fn function() -> Result<u32, String> {
    let (value, _) = yield_!(1);
    Ok(value)
}

fn main() {}
