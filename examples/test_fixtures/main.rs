//! Fixtures of tests as contexts: each test has an empty database of its own, which is dropped
//! after the test, even if it fails or panics.
//!
//! ```text
//! $ cargo run --example test_fixtures 2> /dev/null
//! the test that buys a lamp: passed; its database is gone
//! the test that returns an error: failed: there was no bill; its database is gone
//! the test that panics: panicked; its database is gone
//! ```
//!
//! A fixture is a function: it makes what a test needs above its `yield_!`, and removes it below,
//! with awaits on both sides. A `Drop` cannot do that, and the `before` and `after` of a test
//! framework are not where the test is. Fixtures use fixtures (here the shop, which needs a
//! database), and a test takes the one that it needs, by `#[within]` or by `with`:
//!
//! ```text
//! #[within(shop() => shop)]
//! #[tokio::test]
//! async fn an_item_is_sold_once() -> Result<(), AnyError> {
//!     assert!(buy(shop, "lamp").await?);
//!     assert!(!buy(shop, "lamp").await?);
//!     Ok(())
//! }
//! ```
//!
//! The shop is in `shop.rs`. The databases are in `fixture.rs`: one in a file, and one on a
//! PostgreSQL or MariaDB server, which the tests of the other examples use. The tests are in
//! `tests/test_fixtures.rs`.
//!
//! ```sh
//! cargo run --example test_fixtures   # three tests, of which two go wrong, and what is left of them
//! cargo test --test test_fixtures
//! ```
//!
//! A test whose process is killed, for instance by a time limit, leaves its database behind. That
//! disturbs no other test, because each database has a name of its own.

#![forbid(unsafe_code)]

mod fixture;
mod shop;

use std::path::Path;

use async_context_manager::prelude::*;
use clap::Parser;
use futures::FutureExt as _;
use sqlx::AnyPool;

use crate::fixture::AnyError;
use crate::shop::{buy, shop};

/// Runs three tests with a database of their own, of which one fails and one panics, and tells what is left of
/// the databases.
#[derive(Debug, Parser)]
#[command(name = "test_fixtures", version)]
struct Options {}

/// The file of the shop's database.
async fn file_of(shop: &AnyPool) -> Result<String, AnyError> {
    let question = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    Ok(sqlx::query_scalar(question).fetch_one(shop).await?)
}

async fn run(name: &str, test: impl AsyncFn(&AnyPool) -> Result<(), AnyError>) {
    let mut file = String::new();
    let result = shop().with_local(async |shop| {
        file = file_of(shop).await?;
        assert!(Path::new(&file).exists());
        test(shop).await
    });
    let ended = match std::panic::AssertUnwindSafe(result).catch_unwind().await {
        Ok(Ok(())) => "passed".into(),
        Ok(Err(error)) => format!("failed: {error}"),
        Err(_) => "panicked".into(),
    };
    let is_there = if Path::new(&file).exists() {
        "is still there"
    } else {
        "is gone"
    };
    println!("the test that {name}: {ended}; its database {is_there}");
}

#[tokio::main]
async fn main() {
    Options::parse();
    run("buys a lamp", async |shop| {
        assert!(buy(shop, "lamp").await?);
        Ok(())
    })
    .await;
    run("returns an error", async |shop| {
        buy(shop, "lamp").await?;
        Err("there was no bill".into())
    })
    .await;
    run("panics", async |shop| {
        assert!(buy(shop, "chair").await?, "there was no chair");
        Ok(())
    })
    .await;
}
