//! A transaction as an axum extractor, like a `Depends` of `FastAPI` with a `yield`.
//!
//! The handler gets a [`Guard`]. It ends it with its result; where it does not come to that, because it
//! failed before, panicked, or its client hung up, the transaction rolls back.

use async_context_manager::{detached, prelude::*};
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::post;
use axum::{Router, serve};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Sqlite, Transaction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[async_context(struct = Tx)]
async fn transaction(pool: SqlitePool) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
    let tx = cancellable!(pool.begin()).await?;
    let (tx, outcome) = yield_!(tx);
    if outcome.is_completed() {
        tx.commit().await
    } else {
        tx.rollback().await
    }
}

struct Open(Guard<Tx>);

#[derive(Clone)]
struct App {
    pool: SqlitePool,
    /// Tells the test that the slow handler is at work.
    at_work: mpsc::UnboundedSender<()>,
}

impl FromRequestParts<App> for Open {
    type Rejection = StatusCode;

    async fn from_request_parts(_parts: &mut Parts, app: &App) -> Result<Self, StatusCode> {
        let guard = transaction(app.pool.clone()).guard().await;
        guard.map(Self).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    }
}

async fn insert(tx: &mut Guard<Tx>, id: i64) -> Result<StatusCode, sqlx::Error> {
    let insert = sqlx::query("INSERT INTO orders VALUES (?)");
    insert.bind(id).execute(&mut ***tx).await?;
    Ok(StatusCode::CREATED)
}

async fn order(Open(mut tx): Open) -> Result<StatusCode, StatusCode> {
    let result = insert(&mut tx, 1).await;
    let status = Guard::exit(tx, result).await; // commits, or rolls back
    status.map_err(|_| StatusCode::CONFLICT)
}

async fn slow_order(State(app): State<App>, Open(mut tx): Open) -> Result<StatusCode, StatusCode> {
    let result = insert(&mut tx, 2).await;
    app.at_work.send(()).expect("the test waits for it");
    std::future::pending::<()>().await; // until the client hangs up
    Guard::exit(tx, result)
        .await
        .map_err(|_| StatusCode::CONFLICT)
}

#[tokio::test]
async fn the_handler_s_result_decides_and_a_client_that_hangs_up_rolls_back() {
    let options = SqlitePoolOptions::new().max_connections(1);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    let table = "CREATE TABLE orders (id INTEGER PRIMARY KEY)";
    sqlx::raw_sql(table).execute(&pool).await.unwrap();
    let (at_work, mut at_work_now) = mpsc::unbounded_channel();
    let app = Router::new()
        .route("/", post(order))
        .route("/slow", post(slow_order))
        .with_state(App {
            pool: pool.clone(),
            at_work,
        });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { serve(listener, app).await });

    let request = async |path: &str| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client
    };
    for status in ["201", "409"] {
        let mut answer = String::new();
        request("/")
            .await
            .read_to_string(&mut answer)
            .await
            .unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }

    let client = request("/slow").await;
    at_work_now.recv().await.unwrap();
    drop(client);
    // There is one connection: this waits until the rollback has given it back.
    let mut connection = pool.acquire().await.unwrap();
    let orders: Vec<i64> = sqlx::query_scalar("SELECT id FROM orders")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    assert_eq!(orders, [1]);
    server.abort();
    detached::drain().await;
}
