use async_context_manager::prelude::*;

async fn function() {
    cancellable!(std::future::ready(())).await;
}

fn main() {}
