use async_context_manager::prelude::*;

macro_rules! lend {
    ($value:expr) => {
        yield_!($value)
    };
}

#[async_context]
async fn context() -> Result<u32, String> {
    lend!(1);
    Ok(())
}

fn main() {}

// Two errors: what is missing, and what the other macro has in its place.
