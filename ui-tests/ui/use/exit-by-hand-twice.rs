//! Exit takes the context: it can't be called twice, nor before enter gave a value.

use async_context_manager::prelude::*;

async fn by_hand(mut context: impl AsyncContext<Value = u8, Error = std::io::Error, Verdict = ()>) {
    if let Ok(value) = context.enter().await {
        let _ = context.exit(value, &Outcome::Completed).await;
        let _ = context.exit(value, &Outcome::Completed).await;
    }
}

fn main() {}
