//! Every form of the attribute in a crate of the edition 2021: that it compiles is the test.
#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused
)]
#![deny(
    rust_2018_idioms,
    single_use_lifetimes,
    unused_qualifications,
    unused_results
)]
#![deny(let_underscore_drop, clippy::all, clippy::pedantic, clippy::nursery)]
#![allow(
    unexpected_cfgs,
    reason = "one of the forms has an argument that is never there"
)]

#[path = "../../corpus/forms.rs"]
pub mod forms;

use async_context_manager::{async_context, yield_};

/// Without `+ use<'_>`, a return type of this edition would not capture the lifetime.
#[async_context]
pub async fn captures(text: &str, _other: &mut String) -> Result<usize, std::io::Error> {
    yield_!(text.len());
    Ok(())
}

/// `gen` is a name of this edition, and a keyword of the next one.
#[async_context]
pub async fn names(gen: u32, r#async: u32) -> Result<u32, std::io::Error> {
    yield_!(gen + r#async);
    Ok(())
}
