use async_context_manager::prelude::*;

struct Timer;

impl Drop for Timer {
    fn drop(&mut self) {
        println!("done");
    }
}

async fn user() -> Result<(), u32> {
    Timer.with(async |_| Ok(())).await
}

fn main() {
    let _ = user();
}
