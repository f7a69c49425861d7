//! A pool of database connections that is open while a block runs, and connections that are lent
//! from it while a block runs.
//!
//! ```text
//! $ cargo run --example database_pool
//! the pool is open: connections 1
//! a body that completes has got 42: connections 1
//! a body that fails, by Err(RowNotFound): connections 0
//! a body in a statement, by Err(Elapsed(())): connections 0
//! the next body has got 42: connections 1
//! the pool is closed: connections 0
//! ```
//!
//! Both are contexts, in `pool.rs`. The pool is opened above its `yield_!` and closed below;
//! closing waits for the connections that are lent. A connection is taken from the pool above its
//! `yield_!`. Below, the context decides whether the pool may have it back:
//!
//! ```text
//! #[async_context]
//! async fn connection(pool: AnyPool) -> Result<Lent, sqlx::Error> {
//!     let connection = cancellable!(pool.acquire()).await?;
//!     let (lent, outcome) = yield_!(Lent { … });
//!     if outcome.is_completed() && !lent.in_statement {
//!         lent.give_back();
//!         Ok(())
//!     } else {
//!         lent.close().await
//!     }
//! }
//! ```
//!
//! Pools get that decision wrong. A block that a timeout gives up leaves its connection anywhere:
//! inside a transaction, which the next user would continue, or in the middle of an answer, which
//! the next user would take for the answer to another question. A `Drop` cannot find out, because
//! asking the server means waiting. An exit can wait, and knows how the block ended, so a
//! connection in doubt never goes back. The pool itself finds connections that have died: sqlx
//! checks whether a connection is alive before it lends it, and when it comes back.
//!
//! The default database is SQLite in memory, which needs no setup:
//!
//! ```sh
//! cargo run --example database_pool
//! cargo run --example database_pool -- --database-url postgres://localhost/postgres
//! cargo run --example database_pool -- --database-url mysql://root@localhost/test
//! ```

#![forbid(unsafe_code)]

mod pool;

use std::time::Duration;

use async_context_manager::detached;
use async_context_manager::prelude::*;
use clap::Parser;
use sqlx::AnyPool;
use tokio::time::timeout;

use crate::pool::{Lent, connection, pool};

/// Opens a pool of database connections for a block, and lends connections from it to blocks: one that
/// completes, one that fails, one that is given up in the middle of a statement.
#[derive(Debug, Parser)]
#[command(name = "database_pool", version)]
struct Options {
    /// The database: `sqlite:…`, `postgres:…` or `mysql:…`. Nothing is written to it
    #[arg(long, value_name = "URL", default_value = "sqlite::memory:")]
    database_url: String,

    /// How many connections the pool may have. With one, the next body gets the same, if that is kept
    #[arg(long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    connections: u32,
}

async fn six_times_seven(lent: &mut Lent) -> Result<i64, sqlx::Error> {
    let answer: Vec<(i64,)> = lent.ask(sqlx::query_as("SELECT 6 * 7")).await?;
    answer
        .first()
        .map(|(answer,)| *answer)
        .ok_or(sqlx::Error::RowNotFound)
}

/// A statement that takes much longer than anybody waits for it here.
async fn slow(lent: &mut Lent) -> Result<(), sqlx::Error> {
    let question = match lent.connection().backend_name() {
        "PostgreSQL" => "SELECT 1 FROM pg_sleep(0.5)",
        "MySQL" => "SELECT sleep(0.5)",
        _ => {
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
             SELECT count(*) FROM n"
        }
    };
    let _: Vec<(i64,)> = lent.ask(sqlx::query_as(question)).await?;
    Ok(())
}

async fn show(pool: &AnyPool) -> Result<(), sqlx::Error> {
    let answer = connection(pool.clone()).with(six_times_seven).await?;
    println!("a body that completes has got {answer}: {}", kept(pool));

    let failing = connection(pool.clone()).with(async |lent| {
        six_times_seven(lent).await?;
        Err::<(), _>(sqlx::Error::RowNotFound)
    });
    println!("a body that fails, by {:?}: {}", failing.await, kept(pool));

    let given_up = connection(pool.clone()).with(slow);
    let ended = timeout(Duration::from_millis(50), given_up).await;
    // The exit was not awaited.
    detached::drain().await;
    println!("a body in a statement, by {ended:?}: {}", kept(pool));

    let answer = connection(pool.clone()).with(six_times_seven).await?;
    println!("the next body has got {answer}: {}", kept(pool));
    Ok(())
}

fn kept(pool: &AnyPool) -> String {
    format!("connections {}", pool.size())
}

#[tokio::main]
async fn main() -> Result<(), sqlx::Error> {
    let options = Options::parse();
    let pool = pool(options.database_url, options.connections);
    let program = pool.with(async |pool| {
        println!("the pool is open: {}", kept(pool));
        show(pool).await?;
        Ok(pool.clone())
    });
    let pool = detached::drained(program).await?;
    println!("the pool is closed: {}", kept(&pool));
    Ok(())
}
