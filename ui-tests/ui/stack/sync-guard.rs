use async_context_manager::prelude::*;

struct Timer;

impl Drop for Timer {
    fn drop(&mut self) {}
}

async fn user() -> Result<(), u32> {
    let stack = ExitStack::<u32>::new();
    // A plain value is kept: `stack.keep(Timer)`.
    stack.enter(Timer).await?;
    stack.exit(Ok(())).await
}

fn main() {}

// Three errors of rustc's for one bound: at the call, in its type, and where that is awaited.
