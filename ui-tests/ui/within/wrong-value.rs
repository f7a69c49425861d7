use async_context_manager::prelude::*;

use async_context_manager::within;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    yield_!(id);
    Ok(())
}

#[within(context(1) => id)]
async fn user() -> Result<u32, String> {
    u64::try_from(*id).map_err(|error| error.to_string())
}

fn main() {}
