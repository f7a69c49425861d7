use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<String, String> {
    let text = String::new();
    yield_!(text);
    println!("{text}");
    Ok(())
}

fn main() {}
