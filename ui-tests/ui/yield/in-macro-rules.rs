use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    macro_rules! lend {
        ($value:expr) => {
            yield_!($value)
        };
    }
    lend!(1);
    Ok(())
}

fn main() {}
