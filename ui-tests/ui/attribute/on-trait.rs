use async_context_manager::prelude::*;

#[async_context]
trait Connect {
    fn id(&self) -> u32;
}

fn main() {}
