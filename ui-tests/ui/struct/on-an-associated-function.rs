use async_context_manager::prelude::*;
use std::io;

struct Database;

impl Database {
    // Nothing in it says that it is not a free function: rustc does.
    #[async_context(struct = Connection)]
    async fn connect(name: String) -> io::Result<usize> {
        let (_length, _) = yield_!(name.len());
        Ok(())
    }
}

fn main() {}
