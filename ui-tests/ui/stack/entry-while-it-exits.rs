use async_context_manager::prelude::*;

async fn user() -> Result<(), u32> {
    ExitStack::scope(async |stack| {
        stack.defer(async |_| {
            stack.defer(async |_| Ok(()));
            Ok(())
        });
        Ok(())
    })
    .await
}

fn main() {}
