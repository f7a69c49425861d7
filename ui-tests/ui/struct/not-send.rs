use async_context_manager::prelude::*;
use std::io;
use std::rc::Rc;

#[async_context(struct = Argument)]
async fn argument(number: Rc<u32>) -> io::Result<u32> {
    let (_number, _) = yield_!(*number);
    Ok(())
}

#[async_context(struct = Local)]
async fn local(number: u32) -> io::Result<u32> {
    let number = Rc::new(number);
    let (_number, _) = yield_!(*number);
    drop(number);
    Ok(())
}

#[async_context(struct = Value)]
async fn value(number: u32) -> io::Result<Rc<u32>> {
    let (_number, _) = yield_!(Rc::new(number));
    Ok(())
}

#[async_context(struct = Generic)]
async fn generic<T>(value: T) -> io::Result<T> {
    let (_value, _) = yield_!(value);
    Ok(())
}

fn main() {}
