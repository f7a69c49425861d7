use async_context_manager::prelude::*;
use std::sync::Mutex;

async fn user(numbers: &Mutex<Vec<u32>>) -> Result<(), u32> {
    let guard = numbers.lock().unwrap();
    guard.with(async |_| Ok(())).await
}

fn main() {}
