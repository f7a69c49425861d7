use async_context_manager::contexts;

contexts! {
    struct Connection {
        id: u32,
    }

    async fn context() -> Result<Connection, String> {
        yield Connection { id: 1 };
        Ok(())
    }
}

fn main() {}
