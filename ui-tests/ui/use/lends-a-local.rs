use async_context_manager::prelude::*;

#[async_context]
async fn context(number: u32) -> Result<&'static str, String> {
    let text = number.to_string();
    yield_!(&text);
    Ok(())
}

fn main() {}
