use async_context_manager::prelude::*;
use std::io;
use std::sync::Arc;

struct Database;

impl Database {
    #[async_context(struct = Connection)]
    async fn connect(self: Arc<Self>) -> io::Result<u32> {
        let (_number, _) = yield_!(1);
        Ok(())
    }

    #[async_context(struct = Opened)]
    async fn open(name: String) -> io::Result<Self> {
        drop(name);
        let (_database, _) = yield_!(Database);
        Ok(())
    }
}

fn main() {
    let _ = Arc::new(Database).connect().with(async |number| Ok(*number));
    let _ = Database::open(String::new()).with(async |_| Ok(()));
}
