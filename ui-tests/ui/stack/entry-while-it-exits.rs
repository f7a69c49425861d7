use async_context_manager::prelude::*;

async fn user() -> Result<(), u32> {
    let stack = ExitStack::new();
    stack.defer(async |_| {
        stack.defer(async |_| Ok(()));
        Ok(())
    });
    stack.exit(Ok(())).await
}

fn main() {}
