use async_context_manager::prelude::*;

use std::rc::Rc;

#[async_context]
async fn context() -> Result<Rc<u32>, String> {
    yield_!(Rc::new(1));
    Ok(())
}

fn main() {}
