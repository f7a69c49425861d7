use async_context_manager::contexts;

contexts! {
    async fn context(id: u32) -> Result<u32, String> {
        if id > 0 {
            yield id;
        }
        Ok(())
    }
}

fn main() {}
