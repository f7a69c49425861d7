use async_context_manager::contexts;

macro_rules! lend {
    ($value:expr) => {
        yield $value
    };
}

contexts! {
    async fn context() -> Result<u32, String> {
        lend!(1);
        Ok(())
    }
}

fn main() {
    let _ = context();
}
