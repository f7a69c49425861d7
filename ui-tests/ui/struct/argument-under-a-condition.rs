use async_context_manager::prelude::*;
use std::io;

#[async_context(struct = Connection)]
async fn connect(#[cfg(unix)] number: u32) -> io::Result<u32> {
    let (_number, _) = yield_!(number);
    Ok(())
}

fn main() {}
