//! A hand-written context whose second half has another name.

use async_context_manager::prelude::*;

struct Connection;

impl AsyncContext for Connection {
    type Value = u8;
    type Error = std::io::Error;
    type Verdict = ();

    async fn enter(&mut self) -> Result<u8, std::io::Error> {
        Ok(1)
    }

    async fn exits(self, _value: u8, _outcome: &Outcome) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() {}

// Two errors of rustc's: what is there, and what is not.
