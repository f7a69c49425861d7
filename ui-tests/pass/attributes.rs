//! Attributes stay where they are, and mean what they mean on an `async fn`.
#![deny(warnings, missing_docs, clippy::all, clippy::pedantic)]
#![expect(deprecated, reason = "uses what it deprecates")]

use async_context_manager::prelude::*;

/// Documented.
///
/// # Errors
///
/// Never.
#[async_context]
#[deprecated(note = "use another")]
#[must_use = "it does nothing by itself"]
#[inline]
pub async fn marked() -> Result<u32, String> {
    yield_!(1);
    Ok(())
}

#[cfg(all())]
#[async_context]
async fn arguments(
    #[expect(unused_variables, reason = "for the test")] unused: u32,
    #[allow(unused_variables, reason = "for the test")] allowed: u32,
    #[cfg(any())] absent: Missing,
    #[cfg_attr(all(), expect(unused_mut, reason = "for the test"))] mut value: u32,
) -> Result<u32, String> {
    yield_!(value);
    Ok(())
}

#[cfg(any())]
#[async_context]
async fn arguments() -> Missing {}

#[async_context]
#[expect(clippy::needless_return, reason = "for the test")]
async fn inner_attributes() -> Result<u32, String> {
    #![allow(clippy::items_after_statements, reason = "for the test")]
    let one = 1;
    fn two() -> u32 {
        2
    }
    #[cfg(any())]
    missing();
    #[expect(unused_variables, reason = "for the test")]
    let (three, outcome) = yield_!(one + two());
    return Ok(());
}

/// In a function.
fn main() {
    #[async_context]
    async fn local() -> Result<u32, String> {
        yield_!(1);
        Ok(())
    }
    let _ = marked().with(async |one| Ok(*one));
    let _ = arguments(1, 2, 3).with(async |one| Ok(*one));
    let _ = inner_attributes().with(async |one| Ok(*one));
    let _ = local().with(async |one| Ok(*one));
}
