//! Items of the user's that have the names of what the expansion needs.
#![allow(
    dead_code,
    unused_macros,
    non_camel_case_types,
    reason = "that is the point"
)]

use async_context_manager::{async_context, yield_};

mod core {}
mod std {}
mod async_context_manager_ {}
mod clippy {}
struct Result;
struct Option;
struct AsyncContext;
struct Suppression;
struct generator;
fn concat() {}
macro_rules! concat {
    () => {};
}

type Answer<T> = ::core::result::Result<T, ::std::string::String>;

#[async_context]
async fn context(__context: u32, __context_arg0: u32, __context_exit: u32) -> Answer<u32> {
    yield_!(__context + __context_arg0 + __context_exit);
    Ok(())
}

#[async_context(suppress)]
async fn suppressing((a, _): (u32, u32)) -> Answer<u32> {
    let __context = 1;
    yield_!(a + __context);
    let __context_exit = ::async_context_manager::Suppression::Propagate;
    Ok(__context_exit)
}

fn main() {}
