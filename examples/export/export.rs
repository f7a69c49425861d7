//! The export: rows from a cursor in a transaction are sent while they are read. The pool can be
//! replaced meanwhile.

use std::fmt::Write as _;
use std::sync::Arc;

use async_context_manager::{Shared, prelude::*};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::get;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Executor as _, Postgres};

/// This many rows are in memory at a time.
const FETCH: &str = "FETCH 1000 FROM export";

pub(crate) type Pools = Shared<PgPool, sqlx::Error>;

#[async_context]
pub(crate) async fn pool(url: String, connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgPoolOptions::new().max_connections(connections);
    let pool = options.connect(&url).await?;
    let (pool, _) = yield_!(pool);
    pool.close().await;
    Ok(())
}

/// A transaction on the current pool. That pool stays open for the transaction when another pool
/// takes its place.
#[async_context]
async fn transaction(pools: Pools) -> Result<PoolConnection<Postgres>, Arc<sqlx::Error>> {
    let pool = pools.guard().await?;
    let mut db = cancellable!(pool.acquire()).await?;
    db.execute("BEGIN").await?;
    let (mut db, outcome) = yield_!(db);
    let end = if outcome.is_completed() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = db.execute(end).await.map(drop);
    if ended.is_err() {
        db.close_on_drop();
    }
    drop(db); // must be before its pool
    Guard::exit(pool, ended.map_err(Arc::new)).await
}

/// Notes the export, and sends this number of rows. Both happen, or neither: the note is written if
/// the client has received all rows.
async fn export(State(pools): State<Pools>, Path((number, rows)): Path<(i64, i64)>) -> Body {
    let parts = transaction(pools).stream(async move |db, items| {
        let note = sqlx::query("INSERT INTO exports VALUES ($1)").bind(number);
        note.execute(&mut **db).await?;
        // A cursor, because a rollback would have to read one long answer of the server to its end.
        let cursor = "DECLARE export CURSOR FOR SELECT generate_series(1::bigint, $1)";
        sqlx::query(cursor).bind(rows).execute(&mut **db).await?;
        loop {
            let fetch = sqlx::query_scalar(FETCH);
            let rows: Vec<i64> = fetch.fetch_all(&mut **db).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut lines = String::new();
            for row in rows {
                writeln!(lines, "{row}").expect("a `String` takes all");
            }
            items.send(lines).await;
        }
    });
    Body::from_stream(parts)
}

pub(crate) fn service(pools: Pools) -> Router {
    Router::new()
        .route("/exports/{number}/{rows}", get(export))
        .with_state(pools)
}
