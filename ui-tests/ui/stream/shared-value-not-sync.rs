use async_context_manager::{contexts::ready, shared};
use std::cell::Cell;
use std::io;

fn main() {
    let _ = shared(|| ready::<_, io::Error>(Cell::new(1)));
}
