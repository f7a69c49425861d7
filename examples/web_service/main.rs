//! A web service with one transaction a request: committed if the handler completes, and rolled
//! back if it fails, panics, takes too long, or loses its client.
//!
//! ```text
//! $ cargo run --example web_service -- --time-limit 500
//! listening on http://127.0.0.1:3000
//! ```
//!
//! And in another terminal:
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
//! Ctrl-C ends the service, with the exit code 0 after the last exit. `shutdown::run` does that,
//! and the handlers and the server only ask it whether the service is to end.
//!
//! The handler is in `shop.rs`: it is the body of a transaction, and has nothing to say about how
//! it ends.
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
//! A client that hangs up is the case that is easily forgotten. The server then drops the handler's
//! future, wherever it stands, and nobody is there who could roll back: what a `Drop` can do is to
//! ask for it, and hope that the connection is used again soon. Here the exit of the transaction
//! goes on in the background and is waited for, at the latest when the service stops.
//!
//! An answer of 200 means that the order is committed, and any other that it is rolled back; also
//! the one after the time limit, since that is for the work alone, and never cuts an exit off. Only
//! a client that does not wait for its answer can't know, nor can one whose order the database
//! itself failed to commit. It may ask once more: an order has a number.
//!
//! The service ends in four steps, each with a quarter of `--shutdown-limit`: it accepts no more
//! requests, and lets those that are running come to their ends; it ends those that have not, and
//! answers them with 503; it closes its pool; it waits for what is left in the background. A client
//! that keeps a connection open and asks for nothing is not waited for.
//!
//! `?then=` asks for trouble: `fail`, `panic` or `hang`, after the order was written and before it
//! is paid.

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

/// A panic has an answer as well. By then the transaction of the request has ended.
async fn with_panics_answered(request: Request, next: Next) -> Response {
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    handled.unwrap_or_else(|_| {
        let answer = "the handler panicked; nothing was ordered\n";
        (StatusCode::INTERNAL_SERVER_ERROR, answer).into_response()
    })
}

/// Serves until the service is to end, and then for two parts of the limit at the most.
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
        // Who has not got an answer by then has not asked for anything.
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
