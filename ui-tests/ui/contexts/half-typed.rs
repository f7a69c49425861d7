use async_context_manager::contexts;

contexts! {
    async fn context() -> Result<String, String> {
        let text = String::new();
        yield text.
    }
}

fn main() {}
