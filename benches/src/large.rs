//! The work with a value of 64 KiB, to check that a large value is not copied around.

#![expect(
    clippy::large_futures,
    clippy::large_stack_arrays,
    reason = "large is what is measured"
)]

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;

use async_context_manager::prelude::*;

use crate::ways::counter;
use crate::work::{Way, close, open, repeat, work};

const WORDS: usize = 64 * 1024 / size_of::<u64>();

/// The cost of a value of that size by itself, which is made and moved to its place.
pub const BOXED: Way = Way {
    name: "Box::pin, 64 KiB in it",
    key: "boxed-64k",
    work: |uses| {
        repeat(uses, |start| {
            Box::pin(async move {
                let mut value = large(start);
                let result = work(&mut value[0]);
                ready(()).await; // Held over an await, the value is a part of the future.
                close(black_box(&value)[0]);
                result
            })
        })
    },
};

/// The large value is the lent value.
pub const VALUE: Way = Way {
    name: "generator, 64 KiB as its value",
    key: "generator-64k",
    work: |uses| repeat(uses, generator),
};

/// The large value is in the body.
pub const BODY: Way = Way {
    name: "generator, 64 KiB in its body",
    key: "body-64k",
    work: |uses| repeat(uses, large_body),
};

/// All ways of this module.
pub const ALL: [Way; 3] = [BOXED, VALUE, BODY];

fn large(start: u64) -> [u64; WORDS] {
    let mut value = [0; WORDS];
    value[0] = open(start);
    value
}

#[async_context]
async fn counters(start: u64) -> Result<[u64; WORDS], Infallible> {
    let (value, _) = yield_!(large(start));
    close(black_box(&value)[0]); // All of it is there, and not only what is looked at.
    Ok(())
}

async fn generator(start: u64) -> u64 {
    let used = counters(start).with(async |value| Ok(work(&mut value[0])));
    let Ok(result) = used.await;
    result
}

async fn large_body(start: u64) -> u64 {
    let used = counter(start).with(async |value| {
        let mut scratch = large(*value);
        ready(()).await;
        scratch[0] += work(value);
        Ok(black_box(&scratch)[0])
    });
    let Ok(result) = used.await;
    result
}
