//! The exit that is passed an outcome outlives the outer exit, which lends the outcome.

use async_context_manager::prelude::*;

#[async_context]
async fn connection() -> Result<u32, String> {
    yield_!(1);
    Ok(())
}

#[async_context]
async fn session() -> Result<Guard<BoxContext<u32, String>>, String> {
    let connection = connection().boxed().guard().await?;
    let (connection, outcome) = yield_!(connection);
    tokio::spawn(Guard::exit_as(connection, outcome));
    Ok(())
}

fn main() {
    let _ = session();
}
