use async_context_manager::prelude::*;

#[async_context]
mod contexts {}

fn main() {}
