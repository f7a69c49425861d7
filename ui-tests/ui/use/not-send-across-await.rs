use async_context_manager::prelude::*;

use std::rc::Rc;

#[async_context]
async fn context() -> Result<u32, String> {
    let shared = Rc::new(1);
    yield_!(*shared);
    println!("{shared}");
    Ok(())
}

fn main() {}
