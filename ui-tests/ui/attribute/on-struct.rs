use async_context_manager::prelude::*;

#[async_context]
struct Connection {
    id: u32,
}

fn main() {}
