use std::rc::Rc;

use async_context_manager::prelude::*;

#[async_context]
async fn number() -> Result<u32, String> {
    let (_, _) = yield_!(42);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // The body holds, across an await, what is not `Send`: it is for `with_local`.
    let sum = number()
        .with(async |number| {
            let two = Rc::new(2);
            tokio::task::yield_now().await;
            Ok(*number + *two)
        })
        .await;
    assert_eq!(sum, Ok(44));
}
