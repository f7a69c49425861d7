use async_context_manager::contexts;

contexts! {
    async fn context() -> Result<u32, String> {
        Ok(1)
    }
}

fn main() {}
