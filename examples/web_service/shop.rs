//! The shop: its database, the transaction of a request, and the two handlers.

use std::future::pending;
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::shutdown;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sqlx::any::{Any, AnyPoolOptions, install_default_drivers};
use sqlx::pool::PoolConnection;
use sqlx::{AnyConnection, AnyPool, Executor as _};
use thiserror::Error;
use tokio::time::sleep;

#[derive(Debug, Clone)]
pub(crate) struct Shop {
    pub(crate) pool: AnyPool,
    pub(crate) time_limit: Duration,
    /// How long a request may go on after the service was told to end.
    pub(crate) patience: Duration,
}

/// Why an order is refused.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    #[error("sold out")]
    SoldOut,
    #[error("this order was taken already")]
    Twice,
    #[error("it took too long; nothing was ordered")]
    TooSlow,
    #[error("the service stops; nothing was ordered")]
    Stopping,
    #[error("it failed; nothing was ordered")]
    Failed,
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self {
            Self::SoldOut | Self::Twice => StatusCode::CONFLICT,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed | Self::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if let Self::Database(error) = &self {
            eprintln!("error: {error}");
        }
        (status, format!("{self}\n")).into_response()
    }
}

/// The shop's database, open as long as the service runs.
#[async_context]
pub(crate) async fn database(url: String, stock: i64) -> Result<AnyPool, sqlx::Error> {
    install_default_drivers();
    // SQLite has one writer at a time. With one connection, no writer has to wait for the lock.
    let connections = if url.starts_with("sqlite:") { 1 } else { 8 };
    // A database in memory lives as long as its connection.
    let options = AnyPoolOptions::new().idle_timeout(None).max_lifetime(None);
    let pool = options.max_connections(connections).connect(&url).await?;
    let schema = "CREATE TABLE IF NOT EXISTS orders (number BIGINT PRIMARY KEY);
        CREATE TABLE IF NOT EXISTS stock (pieces BIGINT NOT NULL)";
    sqlx::raw_sql(schema).execute(&pool).await?;
    let fill = "INSERT INTO stock SELECT $1 WHERE NOT EXISTS (SELECT pieces FROM stock)";
    sqlx::query(fill).bind(stock).execute(&pool).await?;

    let (pool, _) = yield_!(pool);

    pool.close().await;
    Ok(())
}

/// A transaction: committed if the body completes; rolled back if it fails, panics, or is
/// cancelled.
#[async_context]
async fn transaction(pool: AnyPool) -> Result<PoolConnection<Any>, sqlx::Error> {
    // A place in a queue may be given up. `BEGIN` must go on to its end.
    let mut db = cancellable!(pool.acquire()).await?;
    db.execute("BEGIN").await?;

    let (mut db, outcome) = yield_!(db);

    let end = if outcome.is_completed() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    if let Err(error) = db.execute(end).await {
        db.close_on_drop();
        return Err(error);
    }
    Ok(())
}

/// `POST /orders/{number}`
pub(crate) async fn order(
    State(shop): State<Shop>,
    Path(number): Path<i64>,
    RawQuery(then): RawQuery,
) -> Result<String, Refused> {
    transaction(shop.pool)
        .err_into()
        .with(async |db| {
            // In the body, not around the transaction: the answer must not be sent before the
            // transaction has ended.
            tokio::select! {
                placed = place(db, number, then.as_deref()) => placed,
                () = sleep(shop.time_limit) => Err(Refused::TooSlow),
                () = told_for(shop.patience) => Err(Refused::Stopping),
            }
        })
        .await?;
    Ok(format!("order {number} is taken\n"))
}

/// Waits until the service has been told to end, and then for this time.
pub(crate) async fn told_for(time: Duration) {
    shutdown::told().await;
    sleep(time).await;
}

async fn place(db: &mut AnyConnection, number: i64, then: Option<&str>) -> Result<(), Refused> {
    let insert = "INSERT INTO orders (number) VALUES ($1) ON CONFLICT DO NOTHING";
    let inserted = sqlx::query(insert).bind(number).execute(&mut *db).await?;
    if inserted.rows_affected() == 0 {
        return Err(Refused::Twice);
    }
    match then {
        Some("then=fail") => return Err(Refused::Failed),
        Some("then=panic") => panic!("asked for"),
        Some("then=hang") => pending().await,
        _ => {}
    }
    let update = "UPDATE stock SET pieces = pieces - 1 WHERE pieces > 0";
    let updated = sqlx::query(update).execute(db).await?;
    if updated.rows_affected() == 0 {
        return Err(Refused::SoldOut);
    }
    Ok(())
}

/// `GET /orders`
pub(crate) async fn orders(State(shop): State<Shop>) -> Result<String, Refused> {
    let question = "SELECT (SELECT count(*) FROM orders), (SELECT pieces FROM stock)";
    let (orders, pieces): (i64, i64) = sqlx::query_as(question).fetch_one(&shop.pool).await?;
    Ok(format!("orders: {orders}; pieces left: {pieces}\n"))
}
