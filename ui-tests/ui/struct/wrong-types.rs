use async_context_manager::prelude::*;
use std::io;

#[async_context(struct = Connection)]
async fn connect(number: u32) -> io::Result<String> {
    let (_number, _) = yield_!(number);
    Ok(1)
}

#[async_context(struct = Session)]
async fn session(number: u32) -> io::Result<u32> {
    let number: u32 = number.to_string().parse()?;
    let (_number, _) = yield_!(number);
    Ok(())
}

fn main() {}
