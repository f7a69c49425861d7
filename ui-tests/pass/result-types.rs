//! Any spelling of a `Result`.
#![deny(warnings)]

use async_context_manager::prelude::*;
use std::fmt::Debug;
use std::io;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Fallible<T = (), E = Failure> = Result<T, E>;

macro_rules! answer {
    () => { Result<u32, String> };
}

trait Backend {
    type Error: Debug + Send + Sync + 'static;
    type Opened: Send;
    fn open() -> Result<Self::Opened, Self::Error>;
}

#[async_context]
async fn io_result() -> io::Result<u32> {
    let one = "1".parse().map_err(io::Error::other)?;
    yield_!(one);
    Ok(())
}

#[async_context]
async fn defaults() -> Fallible {
    yield_!();
    Err("coerces".into())
}

#[async_context]
async fn one_default() -> Fallible<&'static str> {
    yield_!("one");
    "1".parse::<u32>()?;
    Ok(())
}

#[async_context]
async fn no_default() -> Fallible<u32, String> {
    yield_!(1);
    Ok(())
}

#[async_context]
async fn full_path() -> ::std::result::Result<u32, ::std::string::String> {
    yield_!(1);
    Ok(())
}

#[async_context]
#[allow(unused_parens, reason = "for the test")]
async fn parenthesised() -> (Result<u32, String>) {
    yield_!(1);
    Ok(())
}

#[async_context]
async fn from_a_macro() -> answer!() {
    yield_!(1);
    Ok(())
}

#[async_context]
async fn projected<B: Backend>() -> Result<B::Opened, B::Error> {
    yield_!(B::open()?);
    Ok(())
}

#[async_context]
async fn opaque() -> Result<impl Iterator<Item = u32> + Send, impl Debug + Send + Sync + 'static> {
    let (values, _) = yield_!([1, 2].into_iter());
    if values.count() > 2 {
        Err("many")
    } else {
        Ok(())
    }
}

#[async_context]
async fn unsized_value(text: &str) -> Result<Box<dyn Fn() -> usize + Send + '_>, Failure> {
    let _ = yield_!(Box::new(|| text.len()));
    Ok(())
}

fn main() {
    let _ = io_result().with(async |one| Ok(*one));
    let _ = defaults().with(async |()| Ok(()));
    let _ = one_default().with(async |one| Ok(one.len()));
    let _ = no_default().with(async |one| Ok(*one));
    let _ = full_path().with(async |one| Ok(*one));
    let _ = parenthesised().with(async |one| Ok(*one));
    let _ = from_a_macro().with(async |one| Ok(*one));
    let _ = opaque().with(async |values| Ok(values.next()));
    let _ = unsized_value("").with_scoped(async |length| Ok(length()));
}
