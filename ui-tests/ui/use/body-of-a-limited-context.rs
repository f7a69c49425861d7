use async_context_manager::prelude::*;
use std::io;
use std::time::Duration;

#[async_context]
async fn context() -> io::Result<String> {
    let (_text, _) = yield_!(String::new());
    Ok(())
}

async fn read(text: &mut String) -> io::Result<usize> {
    Ok(text.len())
}

async fn user() -> Result<usize, TimeoutError<io::Error>> {
    let limited = context().exit_timeout(Duration::from_secs(1));
    limited.with(async |text| read(text).await).await
}

async fn other() -> io::Result<usize> {
    let limited = context().exit_timeout(Duration::from_secs(1));
    limited.with(async |text| Ok(read(text).await?)).await
}

fn main() {
    let _ = (user(), other());
}
