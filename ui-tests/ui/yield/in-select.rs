use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    tokio::select! {
        () = std::future::ready(()) => {
            yield_!(1);
        }
        () = std::future::pending() => {}
    }
    Ok(())
}

fn main() {}
