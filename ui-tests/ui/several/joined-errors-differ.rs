use async_context_manager::{contexts::join, prelude::*};

#[async_context]
async fn numbered() -> Result<u32, String> {
    let (_, _) = yield_!(1);
    Ok(())
}

#[async_context]
async fn named() -> Result<&'static str, std::io::Error> {
    let (_, _) = yield_!("one");
    Ok(())
}

async fn both() -> Result<(), String> {
    join((numbered(), named())).with(async |_| Ok(())).await
}

fn main() {}

// Errors of rustc's for one bound: at the calls, in their types, and where those are awaited.
