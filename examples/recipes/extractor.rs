//! A transaction as an axum extractor, like a `Depends` of `FastAPI` with a `yield`.
//!
//! A layer opens the transaction before the handler, and commits or rolls back after it, depending
//! on the status of the answer. The client gets the answer after that: if the commit fails, the
//! answer is a 500. The extractor only hands out the transaction, so that no handler can forget to
//! end it.
//!
//! An extractor that hands out a [`Guard`] is shorter, and a trap: each handler must end the guard
//! with `Guard::exit`. A handler that forgets it answers 201, while the guard that it drops rolls
//! back, without any error.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use async_context_manager::{detached, prelude::*};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Router, serve};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Sqlite, Transaction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

type Shared = Arc<Mutex<Transaction<'static, Sqlite>>>;

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error("the answer says {0}")]
    Answer(StatusCode),
    #[error("the handler has kept the transaction")]
    Kept,
}

#[async_context]
async fn transaction(pool: SqlitePool) -> Result<Shared, Trouble> {
    // With PostgreSQL, these must be two awaits: see `transaction.rs`.
    let tx = cancellable!(pool.begin()).await?;
    let (tx, outcome) = yield_!(Arc::new(Mutex::new(tx)));
    let tx = Arc::into_inner(tx).ok_or(Trouble::Kept)?.into_inner();
    if outcome.is_completed() {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    Ok(())
}

async fn in_transaction(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let mut answer = None;
    let ended = transaction(app.pool)
        .try_with(async |tx| {
            request.extensions_mut().insert(Shared::clone(tx));
            let response = answer.insert(next.run(request).await);
            // The handler decides: an answer with an error status rolls back.
            if response.status().is_success() {
                Ok(())
            } else {
                Err(Trouble::Answer(response.status()))
            }
        })
        .await;
    match (ended, answer) {
        (Ok(()) | Err(Failure::Body(_) | Failure::BodyAndExit { .. }), Some(answer)) => answer,
        (Err(Failure::Enter(_)), _) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

struct Tx(OwnedMutexGuard<Transaction<'static, Sqlite>>);

impl<S: Sync> FromRequestParts<S> for Tx {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // Removed: while the request holds it, the transaction cannot end.
        let tx: Option<Shared> = parts.extensions.remove();
        let tx = tx.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        Ok(Self(tx.lock_owned().await))
    }
}

impl Deref for Tx {
    type Target = Transaction<'static, Sqlite>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

#[derive(Clone)]
struct App {
    pool: SqlitePool,
    /// Tells the test that the slow handler is running.
    at_work: mpsc::UnboundedSender<()>,
}

async fn insert(tx: &mut Tx, id: i64, item: i64) -> Result<StatusCode, StatusCode> {
    let insert = sqlx::query("INSERT INTO orders VALUES (?, ?)");
    let inserted = insert.bind(id).bind(item).execute(&mut ***tx).await;
    inserted.map_err(|_| StatusCode::CONFLICT)?;
    Ok(StatusCode::CREATED)
}

async fn order(mut tx: Tx) -> Result<StatusCode, StatusCode> {
    insert(&mut tx, 1, 1).await
}

/// Only the commit detects that there is no such item.
async fn order_of_nothing(mut tx: Tx) -> Result<StatusCode, StatusCode> {
    insert(&mut tx, 2, 404).await
}

async fn slow_order(State(app): State<App>, mut tx: Tx) -> Result<StatusCode, StatusCode> {
    let status = insert(&mut tx, 3, 1).await?;
    app.at_work.send(()).expect("the test waits for it");
    std::future::pending::<()>().await; // until the client hangs up
    Ok(status)
}

#[tokio::test]
async fn the_answer_decides_and_a_client_that_hangs_up_rolls_back() {
    let options = SqlitePoolOptions::new().max_connections(1);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    let tables = "CREATE TABLE items (id INTEGER PRIMARY KEY);
        INSERT INTO items VALUES (1);
        CREATE TABLE orders (
            id INTEGER PRIMARY KEY,
            item INTEGER REFERENCES items DEFERRABLE INITIALLY DEFERRED
        )";
    sqlx::raw_sql(tables).execute(&pool).await.unwrap();
    let (at_work, mut at_work_now) = mpsc::unbounded_channel();
    let state = App {
        pool: pool.clone(),
        at_work,
    };
    let app = Router::new()
        .route("/", post(order))
        .route("/nothing", post(order_of_nothing))
        .route("/slow", post(slow_order))
        .layer(from_fn_with_state(state.clone(), in_transaction))
        .with_state(state);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { serve(listener, app).await });

    let request = async |path: &str| {
        let mut client = TcpStream::connect(address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client
    };
    for (path, status) in [("/", "201"), ("/", "409"), ("/nothing", "500")] {
        let mut answer = String::new();
        let mut client = request(path).await;
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {answer}"
        );
    }

    let client = request("/slow").await;
    at_work_now.recv().await.unwrap();
    drop(client);
    // There is only one connection: this waits until the rollback has returned it.
    let mut connection = pool.acquire().await.unwrap();
    let orders: Vec<i64> = sqlx::query_scalar("SELECT id FROM orders")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    assert_eq!(orders, [1]);
    server.abort();
    detached::drain().await;
}
