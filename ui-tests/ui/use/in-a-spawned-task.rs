//! Where the compiler meets a body whose value's type has a lifetime, and `with_local`: in a spawned
//! task that is a function of its own.
use async_context_manager::prelude::*;

#[async_context]
async fn name() -> Result<&'static str, String> {
    let (_name, _) = yield_!("name");
    Ok(())
}

async fn length(name: &mut &str) -> Result<usize, String> {
    Ok(name.len())
}

async fn handler() -> Result<usize, String> {
    name().with_local(async |name| length(name).await).await
}

fn main() {
    drop(tokio::spawn(handler()));
}
