use async_context_manager::contexts;

contexts! {
    fn context() -> Result<u32, String> {
        yield 1;
        Ok(())
    }
}

fn main() {}
