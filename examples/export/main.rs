//! An export of many rows over HTTP, from a cursor in a transaction, with a pool that is replaced
//! while it is in use.
//!
//! ```text
//! $ export DATABASE_URL=postgres://postgres@127.0.0.1:5432/test
//! $ echo 5 > connections
//! $ cargo run --example export -- connections
//! listening on http://127.0.0.1:3000; connections: 5
//! ```
//!
//! In another terminal:
//!
//! ```text
//! $ curl -s localhost:3000/exports/1/100000 | tail -1
//! 100000
//! $ curl -s localhost:3000/exports/2/100000000 | head -1     # hangs up, and the transaction rolls back
//! 1
//! $ echo 10 > connections                                    # the service has a new pool,
//! ```
//!
//! and says so, while the exports that run go on with the old one, which is closed after the last
//! of them:
//!
//! ```text
//! connections: 10
//! ```

#![forbid(unsafe_code)]

mod export;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::{detached, swappable};
use clap::Parser;
use sqlx::Executor as _;
use tokio::net::TcpListener;
use tokio::time::sleep;

use export::{Pools, pool, service};

#[derive(Parser)]
#[command(about = "An export over HTTP, and a pool that is replaced in use")]
struct Args {
    /// A file with the number of connections, which is watched.
    connections: PathBuf,

    /// Where to listen.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

async fn read(file: &Path) -> Result<u32> {
    let text = tokio::fs::read_to_string(file).await?;
    Ok(text.trim().parse()?)
}

/// Replaces the pool when the file changes. If the new pool cannot be opened, the old one stays.
async fn watch(file: PathBuf, url: String, pools: Pools, mut connections: u32) {
    loop {
        sleep(Duration::from_millis(200)).await;
        let new = match read(&file).await {
            Ok(new) if new != connections => new,
            _ => continue,
        };
        let url = url.clone();
        match pools.replace(move || pool(url.clone(), new)).await {
            Ok(()) => println!("connections: {new}"),
            Err(error) => eprintln!("the pool stays as it is: {error}"),
        }
        connections = new;
    }
}

async fn run(args: Args) -> Result<()> {
    let connections = read(&args.connections).await?;
    let url =
        std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to that of a PostgreSQL")?;
    let pools = {
        let url = url.clone();
        swappable(move || pool(url.clone(), connections))
    };
    let table = "CREATE TABLE IF NOT EXISTS exports (number bigint PRIMARY KEY)";
    let created = pools.clone().with(async |pool| {
        pool.execute(table).await?;
        Ok(())
    });
    created.await?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!(
        "listening on http://{}; connections: {connections}",
        listener.local_addr()?
    );
    let watching = watch(args.connections, url, pools.clone(), connections);
    tokio::select! {
        served = axum::serve(listener, service(pools)) => served?,
        () = watching => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    detached::drained(run(Args::parse())).await
}
