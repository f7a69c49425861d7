use async_context_manager::contexts;

contexts! {
    async fn first() -> Result<u32, String> {
        Ok(1)
    }

    async fn second() -> u32 {
        yield 1;
        1
    }

    async fn third() -> Result<u32, String> {
        yield 1;
        Ok(())
    }
}

async fn user() -> Result<u32, String> {
    use async_context_manager::prelude::*;
    third().with(async |value| Ok(*value)).await
}

fn main() {}
