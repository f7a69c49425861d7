use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let (one, _) = yield_!(1);
    let (two, _) = yield_!(2);
    println!("{one} {two}");
    Ok(())
}

fn main() {}
