use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    struct Inner;
    impl Inner {
        async fn lend(&self) {
            yield_!(1);
        }
    }
    Inner.lend().await;
    Ok(())
}

fn main() {}
