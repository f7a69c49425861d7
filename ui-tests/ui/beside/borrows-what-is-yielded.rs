use async_context_manager::prelude::*;

struct Connection;

impl Connection {
    async fn keep_alive(&self) -> Result<(), String> {
        Ok(())
    }
}

#[async_context]
async fn context() -> Result<Connection, String> {
    let connection = Connection;
    yield_!(connection, connection.keep_alive());
    Ok(())
}

fn main() {}
