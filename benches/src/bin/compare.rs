#![forbid(unsafe_code)]
//! What a use of a context costs, against the same small work without one.
//!
//! `cargo run --release -p benches --bin compare` prints a line each: name, nanoseconds, allocations,
//! and the ratio to a bare `Box::pin` of the work, which is the floor for whatever survives a drop.
//! The rounds are interleaved and the medians are printed, so that the ratios hold on a busy machine
//! as well; the nanoseconds do not.

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::time::Instant;

use async_context_manager::prelude::*;

const ROUNDS: usize = 101;
const USES: u32 = 2_000;

/// The work: opens a counter, adds to it, and takes it back.
async fn inline(start: u64) -> u64 {
    let mut value = black_box(start);
    value += black_box(1);
    black_box(value)
}

struct ByHand(u64);

impl AsyncContext for ByHand {
    type Value = u64;
    type Error = Infallible;
    type Verdict = ();

    async fn enter(&mut self) -> Result<u64, Infallible> {
        Ok(black_box(self.0))
    }

    async fn exit(self, value: u64, _: &Outcome) -> Result<(), Infallible> {
        black_box(value);
        Ok(())
    }
}

#[async_context]
async fn generator(start: u64) -> Result<u64, Infallible> {
    let (value, _) = yield_!(black_box(start));
    black_box(value);
    Ok(())
}

async fn with(context: impl AsyncContext<Value = u64, Error = Infallible, Verdict = ()> + 'static) {
    let used = context.with(async |value| {
        *value += black_box(1);
        Ok(*value)
    });
    let Ok(value) = used.await;
    black_box(value);
}

async fn guard(start: u64) {
    let Ok(mut value) = generator(start).guard().await;
    *value += black_box(1);
    let result = Ok(*value);
    let Ok(value) = Guard::exit(value, result).await;
    black_box(value);
}

/// Runs one way of doing the work so many times, on a runtime.
type Way = (&'static str, fn(u32));

fn repeat<F: Future>(uses: u32, mut work: impl FnMut(u64) -> F) {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            for start in 0..u64::from(uses) {
                black_box(work(start).await);
            }
        });
    });
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has a runtime for us");
}

const WAYS: [Way; 6] = [
    ("inline, by hand", |uses| repeat(uses, inline)),
    (FLOOR, |uses| repeat(uses, |start| Box::pin(inline(start)))),
    ("hand-written context", |uses| {
        repeat(uses, |start| with(ByHand(start)));
    }),
    ("generator", |uses| {
        repeat(uses, |start| with(generator(start)));
    }),
    ("guard", |uses| repeat(uses, guard)),
    ("tokio::spawn and await", |uses| {
        repeat(uses, |start| tokio::spawn(inline(start)));
    }),
];

const FLOOR: &str = "Box::pin";

fn main() {
    let mut rounds = [const { Vec::new() }; WAYS.len()];
    for _ in 0..ROUNDS {
        for ((_, way), times) in WAYS.iter().zip(&mut rounds) {
            let begun = Instant::now();
            way(USES);
            times.push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(USES));
        }
    }
    let medians = rounds.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let floor = WAYS
        .iter()
        .zip(medians)
        .find_map(|((name, _), median)| (*name == FLOOR).then_some(median))
        .unwrap_or(f64::NAN);
    println!("way\tns\tallocations\tratio to {FLOOR}");
    for ((name, way), median) in WAYS.iter().zip(medians) {
        let counted = allocation_counter::measure(|| way(USES));
        let allocations = counted.count_total / u64::from(USES);
        println!("{name}\t{median:.1}\t{allocations}\t{:.2}", median / floor);
    }
}
