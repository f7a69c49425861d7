use async_context_manager::prelude::*;

#[async_context]
async fn number(is_there: bool) -> Result<u32, String> {
    if !is_there {
        return Err::<Result<(), String>, &str>("gone").unwrap_or(Ok(()));
    }
    let (_number, _outcome) = yield_!(42);
    Ok(())
}

fn main() {}
