use async_context_manager::{contexts::ready, prelude::*};
use std::io;

fn main() {
    let _ = ready::<_, io::Error>(1).stream(async |number| Ok(*number + 1));
}
