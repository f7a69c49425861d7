use async_context_manager::prelude::*;
use std::io;

async fn heartbeat() -> io::Result<()> {
    Ok(())
}

#[async_context]
async fn context() -> Result<u32, String> {
    yield_!(1, heartbeat());
    Ok(())
}

fn main() {}
