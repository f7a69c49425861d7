use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    #[cfg(all())]
    yield_!(1);
    Ok(())
}

fn main() {}
