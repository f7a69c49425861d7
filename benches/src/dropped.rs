//! The work, dropped in its middle, so that other code must close.

use std::convert::Infallible;
use std::future::{Future, pending};

use async_context_manager::detached;
use async_context_manager::prelude::*;

use crate::ways::counter;
use crate::work::{Running, Way, close, closed, open, poll_and_drop, repeat, until_closed, work};

/// Uses that are dropped one at a time, each until it is closed.
pub const ONE: [Way; 2] = [
    Way {
        name: "spawn in a drop, until it has run",
        key: "spawn-dropped",
        work: |uses| repeat(uses, |start| until_it_is_closed(spawning(start))),
    },
    Way {
        name: "drop in the body, until its exit has run",
        key: "dropped",
        work: |uses| repeat(uses, |start| until_it_is_closed(waiting(start))),
    },
];

/// Uses that are all dropped first, and then all closed.
pub const MANY: [Way; 2] = [
    Way {
        name: "spawns in drops, until all have run",
        key: "spawn-drained",
        work: |uses| drain(uses, spawning),
    },
    Way {
        name: "detached exits, until drained",
        key: "drained",
        work: |uses| drain(uses, waiting),
    },
];

async fn spawning(start: u64) {
    let mut value = scopeguard::guard(open(start), |value| {
        tokio::spawn(async move { close(value) });
    });
    work(&mut value);
    pending::<()>().await;
}

async fn waiting(start: u64) {
    let Ok(()) = counter(start)
        .with(async |value| {
            work(value);
            pending::<Result<(), Infallible>>().await
        })
        .await;
}

async fn until_it_is_closed(future: impl Future) {
    let before = closed();
    poll_and_drop(future);
    until_closed(before + 1).await;
}

fn drain<F: Future + 'static>(uses: u32, make: fn(u64) -> F) -> Running {
    Box::pin(async move {
        let before = closed();
        for start in 0..u64::from(uses) {
            poll_and_drop(make(start));
        }
        until_closed(before + u64::from(uses)).await;
        detached::drain().await;
    })
}
