use async_context_manager::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

#[async_context]
async fn context(number: Arc<Mutex<u32>>) -> Result<u32, String> {
    let guard = number.lock().unwrap_or_else(PoisonError::into_inner);
    yield_!(*guard);
    drop(guard);
    Ok(())
}

fn main() {}
