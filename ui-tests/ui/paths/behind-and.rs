use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    if id > 0 && yield_!(id).1.is_completed() {
        println!("done");
    }
    Ok(())
}

fn main() {}
