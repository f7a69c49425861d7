use async_context_manager::prelude::*;
use std::io;

#[async_context]
async fn context() -> io::Result<String> {
    let (_text, _) = yield_!(String::new());
    Ok(())
}

async fn user() -> io::Result<usize> {
    context().with(|text: &mut String| async move { Ok(text.len()) }).await
}

fn main() {
    let _ = user();
}
