use async_context_manager::prelude::*;
use std::io;

macro_rules! leave {
    ($label:lifetime if $condition:expr) => {
        if $condition {
            break $label;
        }
    };
}

#[async_context]
async fn at_the_end(number: u32) -> io::Result<u32> {
    'block: {
        leave!('block if number > 3);
        yield_!(number);
    }
    Ok(())
}

#[async_context]
async fn returned(number: u32) -> io::Result<u32> {
    'block: {
        leave!('block if number > 3);
        yield_!(number);
    }
    return Ok(());
}

fn main() {}
