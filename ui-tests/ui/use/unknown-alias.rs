use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Unknown {
    yield_!(1);
    Ok(())
}

fn main() {}

// Two errors of rustc's: the type is in the signature of the expansion, and in its body.
