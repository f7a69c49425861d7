use async_context_manager::{contexts::{join, suppress}, prelude::*};
use std::io;

#[async_context]
async fn named() -> Result<&'static str, io::Error> {
    let (_, _) = yield_!("one");
    Ok(())
}

async fn both() -> io::Result<()> {
    join((suppress::<io::Error>(), named())).with(async |_| Ok(())).await
}

fn main() {}

// Errors of rustc's for one bound: at the calls, in their types, and where those are awaited.
