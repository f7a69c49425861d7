use async_context_manager::prelude::*;

type Answer<T> = Result<T, String>;

#[async_context]
async fn context() -> Answer<impl Fn() -> u32> {
    let _ = yield_!(|| 1);
    Ok(())
}

fn main() {}
