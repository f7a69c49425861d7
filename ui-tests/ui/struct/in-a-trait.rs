use async_context_manager::prelude::*;
use std::io;

trait Connect: Sync {
    #[async_context(struct = Connection)]
    async fn connect(name: String) -> io::Result<usize>;

    #[async_context(struct = Session)]
    async fn session(&self) -> io::Result<usize> {
        let (_length, _) = yield_!(1);
        Ok(())
    }
}

fn main() {}
