//! A context that suppresses one type of error, and lets the others through: in Python, this is
//! `contextlib.suppress`, or an `__aexit__` that returns `True`.
//!
//! A setting that is missing has a default, so it is no reason to fail; a setting that is not a
//! number is. The context `optional` says so in one place, for bodies with three kinds of error
//! types: an enum, a `Box<dyn Error + Send + Sync>`, and an `anyhow::Error` (feature `anyhow`).
//!
//! ```text
//! $ cargo run --example error_handling
//! an enum
//!     width is 80
//!     suppressed: there is no setting `depth`
//!     depth is left to us
//!     error: no number: invalid digit found in string
//! Box<dyn Error + Send + Sync>
//!     width is 80
//!     suppressed: there is no setting `depth`
//!     depth is left to us
//!     error: invalid digit found in string
//! anyhow::Error
//!     width is 80
//!     suppressed: there is no setting `depth`
//!     depth is left to us
//!     error: the height: invalid digit found in string
//! suppress_if
//!     width is 80
//!     depth is left to us
//!     error: no number: invalid digit found in string
//! a panic goes through: no width at all
//! ```
//!
//! What to see in it:
//!
//! - *The type tells.* A context with the verdict `Suppression` gives `Ok(None)` for a suppressed
//!   error, so its user must say what happens then. A context without that verdict cannot suppress
//!   anything, not even by mistake: it does not compile.
//! - *An exit sees the error without owning it.* `outcome.error()` returns a `BodyError`, and
//!   `downcast_ref` looks for a type in it. The error itself stays with the runtime, and no exit
//!   can lose it.
//! - *`downcast_ref` looks inside.* In a box and in an `anyhow::Error`, it looks at the error
//!   inside, below any `.context("…")`. An enum is not a box: its variants are matched by hand.
//! - *Only errors.* Neither a panic nor a cancellation can be suppressed.
//! - *Ready-made.* `suppress_if(…)` takes a function, and `suppress::<T>()` only a type, which is
//!   enough for most programs.
//!
//! This example does not show an error that goes through and is followed by an error of the exit:
//! `with` returns the body's error and reports the exit's, `try_with` returns both.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::num::ParseIntError;
use std::panic;

use anyhow::Context as _;
use async_context_manager::{BodyError, contexts::suppress_if, prelude::*};
use clap::Parser;
use thiserror::Error as ThisError;
use tokio::task::JoinError;

/// Suppresses one type of error and lets the others through, with three kinds of error types: an
/// enum, `Box<dyn Error + Send + Sync>`, and `anyhow::Error`.
#[derive(Debug, Parser)]
#[command(name = "error_handling", version)]
struct Options {}

/// The error that is no reason to fail.
#[derive(Debug, ThisError)]
#[error("there is no setting `{0}`")]
struct Missing(String);

#[derive(Debug, ThisError)]
enum SettingError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("no number: {0}")]
    NoNumber(#[from] ParseIntError),
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Settings that may be missing: the body's error ends here if it is a [`Missing`]. Other errors go
/// through.
///
/// It does not know the error type of its body. An exit looks at the error itself, or at the error
/// inside a box or an `anyhow::Error`, below any context that was added to it.
#[async_context(suppress)]
async fn optional<E: fmt::Debug + Send + Sync + 'static>() -> Result<(), E> {
    let ((), outcome) = yield_!(());
    let Some(missing) = outcome.error().and_then(find_missing) else {
        return Ok(Suppression::Propagate);
    };
    println!("    suppressed: {missing}");
    Ok(Suppression::Suppress)
}

/// The variants of an enum are matched by hand.
fn find_missing(error: &BodyError) -> Option<&Missing> {
    match error.downcast_ref::<SettingError>() {
        Some(SettingError::Missing(missing)) => Some(missing),
        Some(SettingError::NoNumber(_)) => None,
        None => error.downcast_ref(),
    }
}

fn setting(name: &str) -> Result<&'static str, Missing> {
    match name {
        "width" => Ok("80"),
        "height" => Ok("tall"),
        _ => Err(Missing(name.into())),
    }
}

async fn with_enum(name: &str) -> Result<Option<u32>, SettingError> {
    let body = async |(): &mut ()| Ok(setting(name)?.parse()?);
    optional().with(body).await
}

async fn with_box(name: &str) -> Result<Option<u32>, BoxError> {
    let body = async |(): &mut ()| Ok(setting(name)?.parse()?);
    optional().with(body).await
}

async fn with_anyhow(name: &str) -> anyhow::Result<Option<u32>> {
    let body = async |(): &mut ()| {
        let text = setting(name).context("the settings of this machine")?;
        text.parse().with_context(|| format!("the {name}"))
    };
    optional().with(body).await
}

/// The same in one line, if the error is one type, or if a function can tell.
async fn ready_made(name: &str) -> Result<Option<u32>, SettingError> {
    suppress_if(|error| matches!(error, SettingError::Missing(_)))
        .with(async |()| Ok(setting(name)?.parse()?))
        .await
}

fn show<E: fmt::Display>(name: &str, found: Result<Option<u32>, E>) {
    match found {
        Ok(Some(number)) => println!("    {name} is {number}"),
        Ok(None) => println!("    {name} is left to us"),
        Err(error) => println!("    error: {error:#}"),
    }
}

/// A panic resumes with its own payload.
fn message_of(error: JoinError) -> String {
    let payload = error.into_panic();
    let message = payload.downcast_ref::<&str>();
    message.copied().unwrap_or_default().into()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    Options::parse();
    // The panic is planned.
    panic::set_hook(Box::new(|_| {}));
    let names = ["width", "depth", "height"];
    println!("an enum");
    for name in names {
        show(name, with_enum(name).await);
    }
    println!("Box<dyn Error + Send + Sync>");
    for name in names {
        show(name, with_box(name).await);
    }
    println!("anyhow::Error");
    for name in names {
        show(name, with_anyhow(name).await);
    }
    println!("suppress_if");
    for name in names {
        show(name, ready_made(name).await);
    }
    let panicking =
        optional().with(async |()| -> Result<u32, SettingError> { panic!("no width at all") });
    let Err(error) = tokio::spawn(panicking).await else {
        unreachable!("a panic is not suppressed");
    };
    println!("a panic goes through: {}", message_of(error));
}
