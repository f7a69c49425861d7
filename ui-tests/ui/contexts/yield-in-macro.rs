use async_context_manager::contexts;

contexts! {
    async fn context() -> Result<u32, String> {
        println!("{}", yield 1);
        Ok(())
    }
}

fn main() {}
