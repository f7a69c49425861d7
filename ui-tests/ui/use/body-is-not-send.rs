use std::rc::Rc;

use async_context_manager::prelude::*;

#[async_context]
async fn number() -> Result<u32, String> {
    let (_, _) = yield_!(42);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let one = Rc::new(1);
    // A body that is not `Send` is for `with_local`.
    let sum = number().with(async |number| Ok(*number + *one)).await;
    assert_eq!(sum, Ok(43));
}
