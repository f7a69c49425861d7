//! The work without a context, with a context in each way of use, and with the means of tokio and
//! scopeguard.

use std::convert::Infallible;

use async_context_manager::prelude::*;

use crate::work::{Way, close, closed, open, repeat, until_closed, work};

/// The work without a context, and with no guarantee.
pub const INLINE: Way = Way {
    name: "inline, by hand",
    key: "inline",
    work: |uses| repeat(uses, inline),
};

/// The floor for whatever survives a drop.
pub const BOXED: Way = Way {
    name: "Box::pin",
    key: "boxed",
    work: |uses| repeat(uses, |start| Box::pin(inline(start))),
};

/// A hand-written context.
pub const HAND_WRITTEN: Way = Way {
    name: "hand-written context",
    key: "hand-written",
    work: |uses| repeat(uses, hand_written),
};

/// The way in which most contexts are written and used.
pub const GENERATOR: Way = Way {
    name: "generator",
    key: "generator",
    work: |uses| repeat(uses, generator),
};

/// A guard, which the caller's own function holds.
pub const GUARD: Way = Way {
    name: "guard",
    key: "guard",
    work: |uses| repeat(uses, guard),
};

/// A stack that is made for one context.
pub const STACK: Way = Way {
    name: "stack entry",
    key: "stack",
    work: |uses| repeat(uses, stack),
};

/// The usual way to survive a drop.
pub const SPAWN: Way = Way {
    name: "tokio::spawn and await",
    key: "spawn",
    work: |uses| repeat(uses, |start| tokio::spawn(inline(start))),
};

/// The usual way to clean up after a drop.
pub const SPAWN_IN_DROP: Way = Way {
    name: "scopeguard, spawn in its drop",
    key: "scopeguard",
    work: |uses| repeat(uses, spawn_in_drop),
};

/// All ways to do the work to its end.
pub const ALL: [Way; 8] = [
    INLINE,
    BOXED,
    HAND_WRITTEN,
    GENERATOR,
    GUARD,
    STACK,
    SPAWN,
    SPAWN_IN_DROP,
];

/// A hand-written context.
#[derive(Debug)]
pub struct Counter(
    /// The start of the counter.
    pub u64,
);

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

/// The same context as a generator.
#[async_context]
pub async fn counter(start: u64) -> Result<u64, Infallible> {
    let (value, _) = yield_!(open(start));
    close(value);
    Ok(())
}

/// Does the work without a context, and with no guarantee.
pub async fn inline(start: u64) -> u64 {
    let mut value = open(start);
    let result = work(&mut value);
    close(value);
    result
}

/// Does the work with a hand-written context.
pub async fn hand_written(start: u64) -> u64 {
    let Ok(result) = Counter(start).with(async |value| Ok(work(value))).await;
    result
}

/// Does the work with a generator.
pub async fn generator(start: u64) -> u64 {
    let Ok(result) = counter(start).with(async |value| Ok(work(value))).await;
    result
}

/// Does the work with a guard.
pub async fn guard(start: u64) -> u64 {
    let Ok(mut value) = counter(start).guard().await;
    let result = work(&mut value);
    let Ok(result) = Guard::exit(value, Ok(result)).await;
    result
}

/// Does the work with a stack that is made for it.
pub async fn stack(start: u64) -> u64 {
    let Ok(result) = ExitStack::scope(async |stack: &mut ExitStack<Infallible>| {
        let mut value = stack.enter(counter(start)).await?;
        Ok(work(&mut value))
    })
    .await;
    result
}

async fn spawn_in_drop(start: u64) -> u64 {
    let before = closed();
    let result = {
        let mut value = scopeguard::guard(open(start), |value| {
            tokio::spawn(async move { close(value) });
        });
        work(&mut value)
    };
    until_closed(before + 1).await;
    result
}
