use async_context_manager::prelude::*;
use std::io;

#[async_context(struct)]
async fn none() -> io::Result<u32> {
    let (_number, _) = yield_!(1);
    Ok(())
}

#[async_context(struct = "Connection")]
async fn text() -> io::Result<u32> {
    let (_number, _) = yield_!(1);
    Ok(())
}

#[async_context(struct = Connection<T>)]
async fn generic<T: Send>() -> io::Result<u32> {
    let (_number, _) = yield_!(1);
    Ok(())
}

#[async_context(struct Connection)]
async fn no_equals() -> io::Result<u32> {
    let (_number, _) = yield_!(1);
    Ok(())
}

#[async_context(struct = First, struct = Second)]
async fn repeated() -> io::Result<u32> {
    let (_number, _) = yield_!(1);
    Ok(())
}

fn main() {
    let _ = (none(), text(), generic::<u8>(), no_equals(), repeated());
}
