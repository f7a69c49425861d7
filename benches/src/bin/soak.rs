#![forbid(unsafe_code)]
//! Runs contexts at full speed on all cores: nested, held by guards and on stacks, with errors,
//! panics, time limits and aborts at random. Checks at the end that each context that was entered
//! has been exited.
//!
//! `cargo run --release -p benches --bin soak -- --seconds 60` prints, each second, how many
//! contexts were entered and exited, how many exits are in the background, and the memory of the
//! process. The last line is `entered = N, exited = N, left = 0, lost = 0`, and the exit code is 0
//! only if these numbers are right.

use std::cell::Cell;
use std::fmt::Write as _;
use std::future::pending;
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_context_manager::report::{self, Kind};
use async_context_manager::{detached, prelude::*};
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::{JoinSet, yield_now};

static ENTERED: AtomicU64 = AtomicU64::new(0);
static EXITED: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many programs run at a time, on each core.
const AT_A_TIME: usize = 64;

#[derive(Parser)]
#[command(about = "Contexts at full speed, given up at random: none may stay open")]
struct Options {
    /// How long to go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the random numbers begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug)]
struct Trouble;

thread_local! {
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// Returns `true` one time in this many. The random numbers belong to the thread, because contexts
/// have none of their own.
fn one_in(times: u64) -> bool {
    RANDOM.with(|state| {
        // splitmix64
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).is_multiple_of(times)
    })
}

async fn trouble() -> Result<(), Trouble> {
    if one_in(3) {
        yield_now().await;
    }
    if one_in(50) {
        // Not `panic!`, which would print.
        resume_unwind(Box::new("trouble"));
    }
    if one_in(20) { Err(Trouble) } else { Ok(()) }
}

/// A context that counts its enters and exits. Each half may wait, fail or panic.
#[async_context]
async fn counted() -> Result<u64, Trouble> {
    trouble().await?;
    if one_in(8) {
        cancellable!(yield_now()).await;
    }
    let number = ENTERED.fetch_add(1, Ordering::Relaxed);
    let (_, _) = yield_!(number);
    EXITED.fetch_add(1, Ordering::Relaxed);
    trouble().await
}

struct ByHand;

impl AsyncContext for ByHand {
    type Value = u64;
    type Error = Trouble;
    type Verdict = Suppression;

    async fn enter(&mut self) -> Result<u64, Trouble> {
        trouble().await?;
        Ok(ENTERED.fetch_add(1, Ordering::Relaxed))
    }

    async fn exit(self, _: u64, _: &Outcome) -> Result<Suppression, Trouble> {
        EXITED.fetch_add(1, Ordering::Relaxed);
        trouble().await?;
        Ok(if one_in(2) {
            Suppression::Suppress
        } else {
            Suppression::Propagate
        })
    }
}

async fn body() -> Result<(), Trouble> {
    trouble().await?;
    if one_in(100) {
        pending::<()>().await;
    }
    trouble().await
}

/// Uses contexts in one of several ways.
async fn program(way: u8) -> Result<(), Trouble> {
    match way {
        0 => counted().with(async |_| body().await).await,
        1 => ByHand.with(async |_| body().await).await.map(|_| ()),
        2 => {
            counted()
                .with(async |_| {
                    let inner = async |_: &mut u64| ByHand.with(async |_| body().await).await;
                    counted().with(inner).await.map(|_| ())
                })
                .await
        }
        3 => {
            let first = counted().guard().await?;
            let second = ByHand.guard().await?;
            let result = body().await;
            let result = Guard::exit(second, result).await.map(|_| ());
            Guard::exit(first, result).await
        }
        4 => {
            let scope = ExitStack::suppressing_scope(async |stack| {
                for _ in 0..4 {
                    let _lease = stack.enter(counted()).await?;
                    let _lease = stack.enter(ByHand).await?;
                }
                body().await
            });
            scope.await.map(|_| ())
        }
        _ => {
            counted()
                .boxed()
                .ignore_exit_errors()
                .with(async |_| body().await)
                .await
        }
    }
}

/// Runs programs, and gives up some of them at a random poll.
async fn work(until: Instant, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    RANDOM.with(|state| state.set(state.get() ^ random.random::<u64>()));
    let mut running = JoinSet::new();
    while Instant::now() < until {
        while running.len() < AT_A_TIME {
            let (way, patience) = (random.random_range(0..6_u8), random.random_range(0..12_u8));
            running.spawn(async move {
                let give_up = async {
                    for _ in 0..patience {
                        yield_now().await;
                    }
                };
                tokio::select! {
                    biased;
                    result = program(way) => drop(result),
                    () = give_up => {}
                }
            });
        }
        if random.random_range(0..200_u8) == 0 {
            running.abort_all();
        }
        // An error is from an aborted task, or from a task that panicked on purpose.
        drop(running.join_next().await);
    }
    running.abort_all();
    while running.join_next().await.is_some() {}
}

fn memory_in_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn print_counts(second: u64) {
    let (entered, exited) = (
        ENTERED.load(Ordering::Relaxed),
        EXITED.load(Ordering::Relaxed),
    );
    let mut line = format!("{second:>4} s  entered {entered:>11}  exited {exited:>11}");
    let _ = write!(line, "  in the background {:>6}", detached::count());
    if let Some(memory) = memory_in_kib() {
        let _ = write!(line, "  memory {memory:>8} KiB");
    }
    println!("{line}");
}

fn main() -> ExitCode {
    let options = Options::parse();
    report::set_hook(|report| {
        if matches!(report.kind(), Kind::Lost | Kind::NotRun) {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    });
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("there is no runtime to be had: {error}");
            return ExitCode::FAILURE;
        }
    };
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers: Vec<_> = (0..cores as u64)
        .map(|core| runtime.spawn(work(until, options.seed.wrapping_add(core))))
        .collect();
    for second in 1..=options.seconds {
        thread::sleep(Duration::from_secs(1));
        print_counts(second);
    }
    runtime.block_on(async {
        for worker in workers {
            // The worker does not panic, because its programs are tasks of their own.
            let _ = worker.await;
        }
        detached::drain_timeout(Duration::from_mins(1)).await;
    });
    let (entered, exited) = (
        ENTERED.load(Ordering::Relaxed),
        EXITED.load(Ordering::Relaxed),
    );
    let (left, lost) = (detached::count(), LOST.load(Ordering::Relaxed));
    println!("entered = {entered}, exited = {exited}, left = {left}, lost = {lost}");
    if entered == exited && left == 0 && lost == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
