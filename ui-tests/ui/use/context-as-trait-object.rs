use async_context_manager::prelude::*;
use std::io;

struct Service {
    open: Box<dyn AsyncContext<Value = String, Error = io::Error, Verdict = ()>>,
}

fn main() {}
