use async_context_manager::prelude::*;

async fn user() -> Result<Option<()>, u32> {
    let stack = ExitStack::suppressing();
    stack.defer(async |_| Ok(Suppression::Suppress));
    stack.exit(Ok(())).await
}

fn main() {}
