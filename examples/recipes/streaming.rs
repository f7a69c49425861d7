//! A streaming answer of axum, straight from a context: rows are read from a cursor in a
//! transaction while they are sent.
//!
//! The transaction ends with the answer: it commits when all rows have been sent, and rolls back if
//! a row fails, or if the client has gone. Only rows that are sent are read, and memory does not
//! grow with the number of rows. An error after the first row cannot change the status any more:
//! the answer is cut short, which the client sees.

use async_context_manager::{detached, prelude::*};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Sqlite, Transaction};
use tower::ServiceExt as _;

#[async_context]
async fn transaction(pool: SqlitePool) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
    // With PostgreSQL, these must be two awaits: see `transaction.rs`.
    let tx = cancellable!(pool.begin()).await?;
    let (tx, outcome) = yield_!(tx);
    if outcome.is_completed() {
        tx.commit().await
    } else {
        tx.rollback().await
    }
}

async fn export(State(pool): State<SqlitePool>) -> Body {
    let lines = transaction(pool).stream(async |tx, items| {
        sqlx::query("INSERT INTO exports DEFAULT VALUES")
            .execute(&mut **tx)
            .await?;
        let rows = sqlx::query_scalar("SELECT id FROM orders ORDER BY id").fetch(&mut **tx);
        let lines = rows.map_ok(|id: i64| format!("{id}\n"));
        items.send_all(lines).await?;
        Ok(())
    });
    Body::from_stream(lines)
}

#[tokio::test]
async fn an_export_commits_when_it_has_been_sent_and_rolls_back_when_the_client_has_gone() {
    let options = SqlitePoolOptions::new().max_connections(1);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    let tables = "CREATE TABLE exports (id INTEGER PRIMARY KEY);
        CREATE TABLE orders (id INTEGER PRIMARY KEY);
        INSERT INTO orders VALUES (1), (2), (3)";
    sqlx::raw_sql(tables).execute(&pool).await.unwrap();
    let app = Router::new()
        .route("/export", get(export))
        .with_state(pool.clone());
    let request = async || {
        let request = Request::get("/export").body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body().into_data_stream()
    };
    let exports = async || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM exports");
        count.fetch_one(&pool).await.unwrap()
    };

    let lines: Vec<_> = request().await.try_collect().await.unwrap();
    assert_eq!(lines.concat(), b"1\n2\n3\n");
    assert_eq!(exports().await, 1);

    let mut body = request().await;
    assert_eq!(body.next().await.unwrap().unwrap(), "1\n");
    drop(body); // the client has gone
    detached::drain().await;
    assert_eq!(exports().await, 1);
}
