use async_context_manager::prelude::*;

#[async_context]
async fn context(id: Option<u32>) -> Result<u32, String> {
    let Some(id) = id else {
        yield_!(1);
        return Ok(());
    };
    println!("{id}");
    Ok(())
}

fn main() {}
