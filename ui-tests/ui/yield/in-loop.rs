use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    loop {
        yield_!(1);
    }
}

fn main() {}
