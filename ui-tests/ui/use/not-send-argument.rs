//! Two errors of rustc: the argument is in the function's code before it runs, and while it runs.
use async_context_manager::prelude::*;
use std::rc::Rc;

#[async_context]
async fn context(number: Rc<u32>) -> Result<u32, String> {
    yield_!(*number);
    Ok(())
}

fn main() {}
