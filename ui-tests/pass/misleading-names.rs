//! Items of the user's that have the names of what the expansion needs.
#![allow(
    dead_code,
    unused_macros,
    non_camel_case_types,
    non_snake_case,
    reason = "that is the point"
)]

use async_context_manager::{async_context, within, yield_};

mod core {}
mod std {}
mod async_context_manager_ {}
mod clippy {}
struct Future;
struct Send;
struct Debug;
struct Box;
struct String;
struct Outcome;
struct Some;
struct None;
fn Ok() {}
fn Err() {}
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
async fn context(
    (_, _): (u32, u32),
    __context: u32,
    __context_arg0: u32,
    __context_exit: u32,
) -> Answer<u32> {
    yield_!(__context + __context_arg0 + __context_exit);
    ::core::result::Result::Ok(())
}

#[async_context(suppress)]
async fn suppressing((a, _): (u32, u32)) -> Answer<u32> {
    let __context = 1;
    yield_!(a + __context);
    let __context_exit = ::async_context_manager::Suppression::Propagate;
    ::core::result::Result::Ok(__context_exit)
}

#[async_context]
async fn arguments(core: u32, std: u32, lender: u32, _context: u32) -> Answer<u32> {
    let (lender, _) = yield_!(core + std + lender);
    ::core::result::Result::Err(::std::string::ToString::to_string(&lender))
}

#[within(arguments(1, 1, 1, 1) => value)]
async fn within_it(__context: u32) -> Answer<u32> {
    ::core::result::Result::Ok(*value + __context)
}

/// Fails, in a way that can't be read: nothing is yielded.
#[async_context]
async fn unread() -> Answer<u32> {
    panic!("never run")
}

fn main() {}
