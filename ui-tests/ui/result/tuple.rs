use async_context_manager::prelude::*;

#[async_context]
async fn context() -> (u32, String) {
    yield_!(1);
    (1, String::new())
}

fn main() {}
