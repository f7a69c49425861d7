//! A lint that is forbidden can't be allowed any more, not even by an expansion.
#![forbid(
    warnings,
    unused,
    unused_imports,
    unused_variables,
    unused_mut,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::shadow_same
)]

use async_context_manager::{AsyncContextExt, async_context, cancellable, within, yield_};

#[async_context]
async fn numbered(mut id: u32, _unused: String) -> Result<u32, String> {
    id += cancellable!(std::future::ready(1)).await;
    let (id, _) = yield_!(id);
    drop(id.to_string());
    Ok(())
}

#[within(numbered(1, String::new()) => number)]
async fn simple() -> Result<u32, String> {
    numbered(*number, String::new())
        .with(async |number| Ok(*number))
        .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    assert_eq!(simple().await, Ok(3));
}
