use async_context_manager::prelude::*;

#[async_context]
async fn context() -> Result<String, u32> {
    let (text, _) = yield_!(String::new());
    drop(text);
    Ok(())
}

async fn user() -> Result<(), u32> {
    let mut escaped: Option<&mut String> = None;
    context()
        .with(async |text| {
            escaped = Some(text);
            Ok(())
        })
        .await?;
    println!("{escaped:?}");
    Ok(())
}

fn main() {}
