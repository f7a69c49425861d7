use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    const ONE: u32 = yield_!(1).0;
    let _ = [ONE; yield_!(2).0];
    Ok(())
}

fn main() {}

// Two mistakes.
