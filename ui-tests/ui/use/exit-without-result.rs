use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let (value, _) = yield_!(1);
    println!("{value}");
}

fn main() {}
