use async_context_manager::prelude::*;

#[async_context]
async fn context(id: u32) -> Result<u32, String> {
    'open: {
        if id == 0 {
            break 'open;
        }
        yield_!(id);
    }
    Ok(())
}

fn main() {}
