#![deny(warnings)]

use async_context_manager::prelude::*;

#[async_context(suppress)]
async fn forgiving(forgives: bool) -> Result<u32, String> {
    let (_, outcome) = yield_!(1);
    if outcome.is_completed() || !forgives {
        return Ok(Suppression::Propagate);
    }
    Ok(Suppression::Suppress)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let fails = async |_: &mut u32| Err::<u32, _>("failed".to_owned());
    assert_eq!(forgiving(true).with(fails).await, Ok(None));
    assert_eq!(forgiving(false).with(fails).await, Err("failed".to_owned()));
    assert_eq!(
        forgiving(true).with(async |one| Ok(*one)).await,
        Ok(Some(1))
    );
}
