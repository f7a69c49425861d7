//! The export: rows from a cursor in a transaction, sent while they are read; and the pool that can
//! be replaced meanwhile.

use std::fmt::Write as _;
use std::sync::Arc;

use async_context_manager::{Shared, prelude::*};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::get;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};

/// So many rows are in memory at a time.
const FETCH: &str = "FETCH 1000 FROM export";

/// The pool that is in use now.
pub(crate) type Pools = Shared<PgPool, sqlx::Error>;

#[async_context]
pub(crate) async fn pool(url: String, connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgPoolOptions::new().max_connections(connections);
    let pool = options.connect(&url).await?;
    let (pool, _) = yield_!(pool);
    pool.close().await;
    Ok(())
}

/// A transaction on the pool of now, which stays open for it when another pool takes its place.
#[async_context]
async fn transaction(pools: Pools) -> Result<Transaction<'static, Postgres>, Arc<sqlx::Error>> {
    let pool = pools.guard().await?;
    let tx = cancellable!(pool.begin()).await?;
    let (tx, outcome) = yield_!(tx);
    let ended = if outcome.is_completed() {
        tx.commit().await
    } else {
        tx.rollback().await
    };
    Guard::exit(pool, ended.map_err(Arc::new)).await
}

/// Notes the export, and sends so many rows. Both hold, or neither: the note is there when the
/// client has had all rows.
async fn export(State(pools): State<Pools>, Path((number, rows)): Path<(i64, i64)>) -> Body {
    let parts = transaction(pools).stream(async move |tx, items| {
        let note = sqlx::query("INSERT INTO exports VALUES ($1)").bind(number);
        note.execute(&mut **tx).await?;
        // Not one long answer of the server, which a rollback would have to read to its end.
        let cursor = "DECLARE export CURSOR FOR SELECT generate_series(1::bigint, $1)";
        sqlx::query(cursor).bind(rows).execute(&mut **tx).await?;
        loop {
            let fetch = sqlx::query_scalar(FETCH);
            let rows: Vec<i64> = fetch.fetch_all(&mut **tx).await?;
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

/// The service.
pub(crate) fn service(pools: Pools) -> Router {
    Router::new()
        .route("/exports/{number}/{rows}", get(export))
        .with_state(pools)
}
