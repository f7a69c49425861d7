#![deny(warnings)]

use async_context_manager::prelude::*;

#[async_context]
async fn tower(height: u32) -> Result<u32, String> {
    let below = if height == 0 {
        0
    } else {
        tower(height - 1)
            .boxed()
            .with(async |below| Ok(*below))
            .await?
    };
    yield_!(below + 1);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    assert_eq!(tower(3).with(async |height| Ok(*height)).await, Ok(4));
}
