//! Two errors of rustc's: it is neither `Send` nor `Sync`.
use async_context_manager::prelude::*;
use std::rc::Rc;

#[derive(Debug)]
struct Failed(Rc<str>);

#[async_context]
async fn context() -> Result<u32, Failed> {
    yield_!(1);
    Err(Failed(Rc::from("always")))
}

fn main() {}
