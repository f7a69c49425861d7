#![deny(warnings, clippy::all, clippy::pedantic)]

use async_context_manager::prelude::*;
use async_context_manager::within;

#[async_context]
async fn numbered(id: u32) -> Result<u32, String> {
    let (id, _) = yield_!(id);
    if id == 0 {
        Err("zero".to_owned())
    } else {
        Ok(())
    }
}

#[within(numbered(id) => number)]
async fn simple(id: u32, text: String) -> Result<String, String> {
    if text.is_empty() {
        return Err("empty".to_owned());
    }
    *number += 1;
    Ok(format!("{text} {number}"))
}

/// Nested: the second uses what the first lends.
#[within(numbered(1) => first)]
#[within(numbered(*first + 1) => second)]
#[within(numbered(3))]
async fn nested(mut count: u32) -> Result<u32, String> {
    count += *first + *second;
    Ok(count)
}

struct Service {
    id: u32,
}

impl Service {
    #[within(numbered(self.id) => number)]
    async fn call(&self, add: u32) -> Result<u32, String> {
        Ok(self.id + *number + add)
    }
}

#[within(numbered(1) => _number)]
async fn diverging() -> Result<u32, String> {
    Err("always".to_owned())
}

#[within(numbered(7) => number)]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), String> {
    assert_eq!(simple(1, "a".to_owned()).await, Ok("a 2".to_owned()));
    assert_eq!(nested(0).await, Ok(3));
    assert_eq!(Service { id: 2 }.call(1).await, Ok(5));
    assert_eq!(diverging().await, Err("always".to_owned()));
    assert_eq!(*number, 7);
    Ok(())
}
