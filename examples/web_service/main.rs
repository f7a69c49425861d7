//! A web service with one transaction per request: committed if the handler completes, and rolled
//! back if it fails, panics, takes too long, or loses its client.
//!
//! ```text
//! $ cargo run --example web_service -- --time-limit 500
//! listening on http://127.0.0.1:3000
//! ```
//!
//! In another terminal:
//!
//! ```text
//! $ curl -X POST localhost:3000/orders/1
//! order 1 is taken
//! $ curl -X POST localhost:3000/orders/1
//! this order was taken already
//! $ curl -X POST localhost:3000/orders/2?then=fail
//! it failed; nothing was ordered
//! $ curl -X POST localhost:3000/orders/3?then=panic
//! the handler panicked; nothing was ordered
//! $ curl -X POST localhost:3000/orders/4?then=hang
//! it took too long; nothing was ordered
//! $ curl -X POST --max-time 0.1 localhost:3000/orders/5?then=hang
//! curl: (28) Operation timed out after 104 milliseconds with 0 bytes received
//! $ curl localhost:3000/orders
//! orders: 1; pieces left: 99
//! ```
//!
//! Ctrl-C ends the service, with the exit code 0 after the last exit. `shutdown::run` does that.
//! The handlers and the server only ask whether the service must end.
//!
//! The handler is in `shop.rs`. It is the body of a transaction, and does not decide how the
//! transaction ends.
//!
//! ```text
//! transaction(shop.pool).err_into().with(async |tx| {
//!     tokio::select! {
//!         placed = place(tx, number, then.as_deref()) => placed,
//!         () = sleep(shop.time_limit) => Err(Refused::TooSlow),
//!         () = told_for(shop.patience) => Err(Refused::Stopping),
//!     }
//! })
//! ```
//!
//! A client that hangs up is easily forgotten. The server then drops the handler's future, wherever
//! it stands, and no code is left to roll back: a `Drop` can only ask for it, and hope that the
//! connection is used again soon. Here the exit of the transaction goes on in the background, and
//! is waited for at the latest when the service stops.
//!
//! An answer of 200 means that the order is committed, and any other answer means that it is rolled
//! back. This also holds for the answer after the time limit, because the limit covers only the
//! work, and never cuts off an exit. There are two exceptions: a client that does not wait for its
//! answer, and a client whose order the database itself failed to commit. Such a client may ask
//! again, because an order has a number.
//!
//! The service ends in four steps, each with a quarter of `--shutdown-limit`. It accepts no more
//! requests, and lets the running ones end. It ends those that are left, and answers them with 503.
//! It closes its pool. It waits for what is left in the background. A client that keeps a
//! connection open without a request is not waited for.
//!
//! `?then=` causes trouble: `fail`, `panic` or `hang`, after the order was written and before it is
//! paid.

#![forbid(unsafe_code)]

mod shop;

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::shutdown::{self, Ended, Times};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use clap::Parser;
use futures::FutureExt as _;
use tokio::net::TcpListener;

use crate::shop::{Shop, database, order, orders, told_for};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A shop that takes orders over HTTP, with one transaction a request.
#[derive(Debug, Parser)]
#[command(name = "web_service", version)]
struct Options {
    /// Where to listen; with the port 0, at any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// The database, `sqlite:…` or `postgres:…`
    #[arg(long, value_name = "URL", default_value = "sqlite::memory:")]
    database_url: String,

    /// How many pieces there are to order, in a new database
    #[arg(long, value_name = "N", default_value = "100")]
    stock: i64,

    /// How many milliseconds an order may take
    #[arg(long, value_name = "MS", default_value = "1000")]
    time_limit: u64,

    /// How many milliseconds the service may take to end, after Ctrl-C or SIGTERM
    #[arg(long, value_name = "MS", default_value = "5000")]
    shutdown_limit: u64,
}

/// Answers a panic as well. By then, the transaction of the request has ended.
async fn with_panics_answered(request: Request, next: Next) -> Response {
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    handled.unwrap_or_else(|_| {
        let answer = "the handler panicked; nothing was ordered\n";
        (StatusCode::INTERNAL_SERVER_ERROR, answer).into_response()
    })
}

/// Serves until the service must end, and then for at most two parts of the limit.
async fn serve(listener: TcpListener, shop: Shop) -> io::Result<()> {
    let patience = shop.patience;
    let app = Router::new()
        .route("/orders/{number}", post(order))
        .route("/orders", get(orders))
        .layer(from_fn(with_panics_answered))
        .with_state(shop);
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown::told());
    tokio::select! {
        ended = server.into_future() => ended,
        // A client without an answer by then has not sent a request.
        () = told_for(2 * patience) => Ok(()),
    }
}

async fn app(options: Options, part: Duration) -> Result<(), AnyError> {
    database(options.database_url, options.stock)
        .exit_timeout(part)
        .err_into()
        .with(async |pool| {
            let listener = TcpListener::bind(options.listen).await?;
            println!("listening on http://{}", listener.local_addr()?);
            let shop = Shop {
                pool: pool.clone(),
                time_limit: Duration::from_millis(options.time_limit),
                patience: part,
            };
            Ok(serve(listener, shop).await?)
        })
        .await
}

#[tokio::main]
async fn main() -> Ended<Result<(), AnyError>> {
    let options = Options::parse();
    let part = Duration::from_millis(options.shutdown_limit) / 4;
    let times = Times::new().grace(3 * part).drain(part);
    times.run(app(options, part)).await
}
