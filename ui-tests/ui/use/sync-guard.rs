//! A guard with a lifetime: rustc leaves our message out, which it has for `drop-guard`.
use async_context_manager::prelude::*;
use std::ops::Deref;

struct Locked<'a>(&'a Connection);

struct Connection;

impl Deref for Locked<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

async fn user(guard: Locked<'_>) -> Result<(), u32> {
    guard.with(async |_| Ok(())).await
}

fn main() {
    let _ = user(Locked(&Connection));
}
