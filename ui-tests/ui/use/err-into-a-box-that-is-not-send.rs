use async_context_manager::prelude::*;
use std::error::Error;
use std::io;

#[async_context]
async fn context() -> io::Result<String> {
    let (_text, _) = yield_!(String::new());
    Ok(())
}

async fn user() -> Result<u32, Box<dyn Error>> {
    let context = context().err_into::<Box<dyn Error>>();
    context.with(async |text| Ok(text.parse::<u32>()?)).await
}

fn main() {
    let _ = user();
}
