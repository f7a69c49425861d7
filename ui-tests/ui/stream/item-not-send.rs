use async_context_manager::{contexts::ready, prelude::*};
use std::io;
use std::rc::Rc;

fn main() {
    let _ = ready::<_, io::Error>(1).stream(async |number, items| {
        items.send(Rc::new(*number)).await;
        Ok(())
    });
}
