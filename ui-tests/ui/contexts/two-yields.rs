use async_context_manager::contexts;

contexts! {
    async fn context() -> Result<u32, String> {
        let (one, _) = yield 1;
        yield one;
        Ok(())
    }
}

fn main() {}
