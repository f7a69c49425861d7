use async_context_manager::prelude::*;
use std::rc::Rc;

#[async_context]
async fn context() -> Result<u32, String> {
    let shared = Rc::new(1);
    yield_!(1, async move {
        tokio::task::yield_now().await;
        drop(shared);
        Ok(())
    });
    Ok(())
}

fn main() {}
