use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<u32, String> {
    let (value, _) = yield_!(1);
    checked(value)
}

fn checked(value: u32) -> Result<u32, String> {
    if value > 0 { Ok(value) } else { Err("zero".to_owned()) }
}

fn main() {}
