use async_context_manager::prelude::*;
use std::io;

#[async_context(struct = Connection)]
async fn first() -> io::Result<u32> {
    let (_number, _) = yield_!(1);
    Ok(())
}

#[async_context(struct = Connection)]
async fn second() -> io::Result<u32> {
    let (_number, _) = yield_!(2);
    Ok(())
}

fn main() {}
