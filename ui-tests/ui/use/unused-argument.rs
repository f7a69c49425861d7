#![deny(unused_variables, unused_mut)]

use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32, mut count: u32) -> Result<u32, String> {
    yield_!(count);
    Ok(())
}

fn main() {}
