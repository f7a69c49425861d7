use async_context_manager::prelude::*;
use std::io;

macro_rules! leave {
    () => {
        return Ok(())
    };
    (if $condition:expr) => {
        if $condition {
            return Ok(());
        }
    };
}

#[async_context]
async fn always() -> io::Result<u32> {
    let number = 1;
    leave!();
    let (_number, _) = yield_!(number);
    Ok(())
}

#[async_context]
async fn sometimes(number: u32) -> io::Result<u32> {
    leave!(if number > 3);
    println!("opened");
    let (number, outcome) = yield_!(number);
    if outcome.is_failed() {
        return Err(io::ErrorKind::Other.into());
    }
    println!("closed {number}");
    Ok(())
}

#[async_context(suppress, struct = Named)]
async fn named(number: u32) -> io::Result<u32> {
    if number == 0 {
        leave!(if number > 3);
    }
    let (_number, _) = yield_!(number);
    Ok(Suppression::Propagate)
}

contexts! {
    async fn keyword(number: u32) -> io::Result<u32> {
        leave!(if number > 3);
        let (_number, _) = yield number;
        Ok(())
    }
}

fn main() {}
