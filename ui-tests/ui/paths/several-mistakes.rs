use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    if id == 0 {
        return Ok(());
    }
    let lend = |id: u32| yield_!(id);
    lend(id);
    let (id, _) = yield_!(id);
    cancellable!(std::future::ready(id)).await;
    yield_!(id);
    Ok(())
}

fn main() {}
