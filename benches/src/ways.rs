//! The same small work in many ways: a counter is opened, added to, and closed.
//!
//! All ways call the same three functions, and what these do can't be left out by the compiler. Nothing
//! in them waits: what is measured is what a way adds.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};

use async_context_manager::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

/// A way of doing the work.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// For a table.
    pub name: &'static str,
    /// For the command line.
    pub key: &'static str,
    /// Does the work so many times, one after the other, on this thread's runtime.
    pub run: fn(u32),
}

/// The way that is the floor for whatever survives a drop.
pub const FLOOR: Way = Way {
    name: "Box::pin",
    key: "boxed",
    run: |uses| repeat(uses, |start| Box::pin(inline(start))),
};

/// All ways to do the work to its end.
pub const ALL: [Way; 8] = [
    Way {
        name: "inline, by hand",
        key: "inline",
        run: |uses| repeat(uses, inline),
    },
    FLOOR,
    Way {
        name: "hand-written context",
        key: "hand-written",
        run: |uses| repeat(uses, hand_written),
    },
    Way {
        name: "generator",
        key: "generator",
        run: |uses| repeat(uses, generator),
    },
    Way {
        name: "guard",
        key: "guard",
        run: |uses| repeat(uses, guard),
    },
    Way {
        name: "stack entry",
        key: "stack",
        run: |uses| repeat(uses, stack),
    },
    Way {
        name: "tokio::spawn and await",
        key: "spawn",
        run: |uses| repeat(uses, |start| tokio::spawn(inline(start))),
    },
    Way {
        name: "scopeguard, with a spawn in its drop",
        key: "scopeguard",
        run: |uses| repeat(uses, spawn_in_drop),
    },
];

/// The ways to be dropped in the middle of the work, each until its closing half has run.
pub const DROPPED: [Way; 2] = [
    Way {
        name: "tokio::spawn in a drop, until it has run",
        key: "spawn-dropped",
        run: |uses| {
            repeat(uses, |start| {
                until_closed(async move {
                    let mut value = scopeguard::guard(open(start), |value| {
                        tokio::spawn(async move { close(value) });
                    });
                    work(&mut value);
                    pending::<()>().await;
                })
            });
        },
    },
    Way {
        name: "drop of a generator in the body, until its exit has run",
        key: "dropped",
        run: |uses| {
            repeat(uses, |start| {
                until_closed(counter(start).with(async |value| {
                    work(value);
                    pending::<Result<(), Infallible>>().await
                }))
            });
        },
    },
];

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has a runtime for us");

    /// How many times the work was closed.
    static CLOSED: Cell<u64> = const { Cell::new(0) };
}

fn repeat<F: Future>(uses: u32, mut work: impl FnMut(u64) -> F) {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            for start in 0..u64::from(uses) {
                black_box(work(start).await);
            }
        });
    });
}

#[inline]
fn open(start: u64) -> u64 {
    black_box(start)
}

#[inline]
fn work(value: &mut u64) -> u64 {
    *value += black_box(1);
    *value
}

#[inline]
fn close(value: u64) {
    black_box(value);
    CLOSED.set(CLOSED.get() + 1);
}

async fn inline(start: u64) -> u64 {
    let mut value = open(start);
    let result = work(&mut value);
    close(value);
    result
}

struct Counter(u64);

impl AsyncContext for Counter {
    type Value = u64;
    type Error = Infallible;
    type Verdict = ();

    async fn enter(&mut self) -> Result<u64, Infallible> {
        Ok(open(self.0))
    }

    async fn exit(self, value: u64, _: &Outcome) -> Result<(), Infallible> {
        close(value);
        Ok(())
    }
}

#[async_context]
async fn counter(start: u64) -> Result<u64, Infallible> {
    let (value, _) = yield_!(open(start));
    close(value);
    Ok(())
}

async fn hand_written(start: u64) -> u64 {
    let Ok(result) = Counter(start).with(async |value| Ok(work(value))).await;
    result
}

async fn generator(start: u64) -> u64 {
    let Ok(result) = counter(start).with(async |value| Ok(work(value))).await;
    result
}

async fn guard(start: u64) -> u64 {
    let Ok(mut value) = counter(start).guard().await;
    let result = work(&mut value);
    let Ok(result) = Guard::exit(value, Ok(result)).await;
    result
}

async fn stack(start: u64) -> u64 {
    let Ok(result) = ExitStack::scope(async |stack: &mut ExitStack<Infallible>| {
        let mut value = stack.enter(counter(start)).await?;
        Ok(work(&mut value))
    })
    .await;
    result
}

async fn spawn_in_drop(start: u64) -> u64 {
    let closed = CLOSED.get();
    let result = {
        let mut value = scopeguard::guard(open(start), |value| {
            tokio::spawn(async move { close(value) });
        });
        work(&mut value)
    };
    while CLOSED.get() == closed {
        yield_now().await;
    }
    result
}

/// Polls once, drops, and waits until the work is closed.
async fn until_closed(future: impl Future) {
    let closed = CLOSED.get();
    {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(future).poll(&mut cx).is_pending());
    }
    while CLOSED.get() == closed {
        yield_now().await;
    }
}
