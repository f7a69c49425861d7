use async_context_manager::prelude::*;

#[async_context(supress)]
fn context() -> u32 {
    loop {
        yield_!(1);
    }
}

fn main() {}
