use async_context_manager::prelude::*;

async fn refuse() -> Result<(), String> {
    Err("refused".to_owned())
}

#[async_context]
async fn context(id: Option<u32>) -> Result<u32, String> {
    let Some(id) = id else {
        return refuse().await;
    };
    yield_!(id);
    Ok(())
}

fn main() {}
