use async_context_manager::prelude::*;

struct Client {
    name: Guard<String>,
}

fn main() {}
