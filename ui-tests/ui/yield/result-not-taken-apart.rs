use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<Vec<u32>, String> {
    let values = yield_!(vec![1]);
    println!("{}", values.len());
    Ok(())
}

fn main() {}
