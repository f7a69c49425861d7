use async_context_manager::prelude::*;
use std::io;

#[async_context(struct = Length)]
async fn length<'a>(name: &'a str) -> io::Result<usize> {
    let (_length, _) = yield_!(name.len());
    Ok(())
}

async fn of(name: &str) -> io::Result<usize> {
    length(name).with(async |length| Ok(*length)).await
}

fn main() {}
