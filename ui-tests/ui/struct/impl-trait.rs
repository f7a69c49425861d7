use async_context_manager::prelude::*;
use std::io;

#[async_context(struct = Counter)]
async fn counter(count: impl Fn() -> u32 + Send) -> io::Result<u32> {
    let (_count, _) = yield_!(count());
    Ok(())
}

#[async_context(struct = Function)]
async fn function(count: u32) -> Result<impl Fn() -> u32 + Send, io::Error> {
    let (_function, _) = yield_!(move || count);
    Ok(())
}

fn main() {
    let _ = counter(|| 1).with(async |count| Ok(*count));
    let _ = function(1).with(async |function| Ok(function()));
}
