use async_context_manager::contexts;

contexts! {
    async fn context() -> Result<u32, String> {
        for id in 0..3 {
            yield id;
        }
        Ok(())
    }
}

fn main() {}
