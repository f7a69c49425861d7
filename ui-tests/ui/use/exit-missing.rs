//! A hand-written context without its second half.

use async_context_manager::prelude::*;

struct Connection;

impl AsyncContext for Connection {
    type Value = u8;
    type Error = std::io::Error;
    type Verdict = ();

    async fn enter(&mut self) -> Result<u8, std::io::Error> {
        Ok(1)
    }
}

fn main() {}
