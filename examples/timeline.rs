//! The life of a small service, as a tree of what its contexts did.
//!
//! With the feature `tracing`, each context is a span, with the time in its enter, its body and its
//! exit, how the body ended, and whether the exit went on in the background. Any layer of `tracing`
//! shows these spans. Here it is `tracing-forest`, which prints a tree for each top-level span when
//! that closes. The service opens a pool, and serves three requests, each in a transaction:
//!
//! 1. a request that completes, and commits;
//! 2. a request that fails, and rolls back;
//! 3. a request whose client gives up after 50 ms. Its rollback goes on without it, in a tree of
//!    its own: the request has ended, and does not take longer because of work that nobody waits
//!    for. The pool still closes after the rollback.
//!
//! The clock is paused, so the times of the contexts are the same in each run. The times in
//! brackets are real: the layer itself has measured them.
//!
//! ```text
//! $ cargo run --example timeline
//! INFO     async_context [ 42.9µs | 100.00% ] name: "timeline::transaction" | phase: "enter" | detached: true
//! INFO     ┝━ ｉ [info]: rollback
//! DEBUG    ┕━ 🐛 [debug]: exited | outcome: "cancelled" | enter: 1ms | body: 49ms | exit: 5ms | detached: true | exit_failed: false
//! INFO     service [ 694µs | 30.27% / 100.00% ]
//! INFO     ┕━ async_context [ 484µs | 19.16% / 69.73% ] name: "timeline::pool" | phase: "enter"
//! INFO        ┝━ request [ 128µs | 13.19% / 18.42% ] number: 1
//! INFO        │  ┕━ async_context [ 36.3µs | 5.23% ] name: "timeline::transaction" | phase: "enter"
//! INFO        │     ┝━ ｉ [info]: commit
//! DEBUG       │     ┕━ 🐛 [debug]: exited | outcome: "completed" | enter: 1ms | body: 30ms | exit: 5ms | detached: false | exit_failed: false
//! INFO        ┝━ request [ 77.8µs | 7.67% / 11.21% ] number: 2
//! INFO        │  ┕━ async_context [ 24.6µs | 3.54% ] name: "timeline::transaction" | phase: "enter"
//! INFO        │     ┝━ ｉ [info]: rollback
//! DEBUG       │     ┕━ 🐛 [debug]: exited | outcome: "failed" | enter: 1ms | body: 10ms | exit: 5ms | detached: false | exit_failed: false
//! INFO        ┝━ ｉ [info]: the second request is answered | failed: true
//! INFO        ┝━ request [ 145µs | 18.57% / 20.94% ] number: 3
//! INFO        │  ┕━ async_context [ 16.5µs | 2.38% ] name: "timeline::transaction" | phase: "enter"
//! DEBUG       │     ┕━ 🐛 [debug]: goes on in the background
//! INFO        ┝━ ｉ [info]: the third client | gone: true
//! DEBUG       ┕━ 🐛 [debug]: exited | outcome: "completed" | enter: 20ms | body: 102ms | exit: 15ms | detached: false | exit_failed: false
//! 4 contexts: 2 completed, 1 failed, 1 cancelled, of these 1 in the background; 0 lost
//! ```

use std::time::Duration;

use async_context_manager::detached::drained;
use async_context_manager::observe::{self, Counters};
use async_context_manager::prelude::*;
use clap::Parser;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, info, info_span};
use tracing_forest::ForestLayer;
use tracing_forest::printer::PrettyPrinter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Serves three requests, and prints what the contexts in them did.
#[derive(Parser)]
struct Options {}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Trouble(&'static str);

#[async_context]
async fn pool() -> Result<(), Trouble> {
    sleep(Duration::from_millis(20)).await;
    let ((), _) = yield_!(());
    sleep(Duration::from_millis(10)).await;
    Ok(())
}

#[async_context]
async fn transaction() -> Result<(), Trouble> {
    sleep(Duration::from_millis(1)).await;
    let ((), outcome) = yield_!(());
    sleep(Duration::from_millis(5)).await;
    let end = match outcome {
        Outcome::Completed => "commit",
        _ => "rollback",
    };
    info!("{end}");
    Ok(())
}

/// What a request does in its transaction.
async fn work(time: u64, result: Result<(), Trouble>) -> Result<(), Trouble> {
    transaction()
        .with(async |()| {
            sleep(Duration::from_millis(time)).await;
            result
        })
        .await
}

async fn serve() -> Result<(), Trouble> {
    pool()
        .with(async |()| {
            let good = work(30, Ok(()));
            good.instrument(info_span!("request", number = 1)).await?;

            let bad = work(10, Err(Trouble("no such account")));
            let failed = bad.instrument(info_span!("request", number = 2)).await;
            info!(failed = failed.is_err(), "the second request is answered");

            let slow = work(1000, Ok(())).instrument(info_span!("request", number = 3));
            let gone = timeout(Duration::from_millis(50), slow).await.is_err();
            info!(gone, "the third client");
            Ok(())
        })
        .await
}

static COUNTERS: Counters = Counters::new();

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Trouble> {
    let Options {} = Options::parse();
    let printer = PrettyPrinter::new().writer(std::io::stdout);
    let subscriber = tracing_subscriber::registry().with(ForestLayer::from(printer));
    tracing::subscriber::set_global_default(subscriber).expect("it is the first");
    observe::set_observer(|event| COUNTERS.count(event));

    drained(serve().instrument(info_span!("service"))).await?;

    let counts = COUNTERS.counts();
    println!(
        "{} contexts: {} completed, {} failed, {} cancelled, of these {} in the background; {} lost",
        counts.entered,
        counts.completed,
        counts.failed,
        counts.cancelled,
        counts.detached,
        counts.lost,
    );
    Ok(())
}
