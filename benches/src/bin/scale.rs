#![forbid(unsafe_code)]
//! What one context costs where there are many: time and memory per item, for 100 to 100,000 of them.
//!
//! `cargo run --release -p benches --bin scale` prints a row for each way in which contexts can be many. With
//! `-- --check` the program fails where the time per item grows more than twice as much as that of plain tasks
//! does, which have the same caches and the same allocator to live with, or where memory is kept at the end.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::process::ExitCode;
use std::task::Poll;
use std::thread;
use std::time::Instant;

use async_context_manager::{detached, prelude::*};
use clap::Parser;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, yield_now};

type Done = Result<(), Infallible>;

#[derive(Parser)]
#[command(about = "Time and memory per context, where there are many")]
struct Options {
    /// Fail where an item costs more the more there are.
    #[arg(long)]
    check: bool,
    /// The greatest number of items.
    #[arg(long, default_value_t = 100_000)]
    most: usize,
    /// How often each number is tried: the least time counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

struct Row {
    name: &'static str,
    run: fn(&Runtime, usize),
}

const ROWS: [Row; 15] = [
    Row {
        name: "plain tasks that yield once",
        run: plain_tasks,
    },
    Row {
        name: "guards, dropped first to last",
        run: |rt, n| guards(rt, n, |_| {}),
    },
    Row {
        name: "guards, dropped last to first",
        run: |rt, n| guards(rt, n, <[_]>::reverse),
    },
    Row {
        name: "guards, dropped at random",
        run: |rt, n| guards(rt, n, shuffle),
    },
    Row {
        name: "guards, dropped in two blocks",
        run: |rt, n| guards(rt, n, |all| all.rotate_left(n_half(all))),
    },
    Row {
        name: "guards, closed in an exit beside others",
        run: closed_in_an_exit,
    },
    Row {
        name: "exits of one parent",
        run: exits_of_one_parent,
    },
    Row {
        name: "guards in tasks that are aborted",
        run: aborted_tasks,
    },
    Row {
        name: "leases, released first to last",
        run: |rt, n| leases(rt, n, |_| {}),
    },
    Row {
        name: "leases, released last to first",
        run: |rt, n| leases(rt, n, <[_]>::reverse),
    },
    Row {
        name: "leases, released at random",
        run: |rt, n| leases(rt, n, shuffle),
    },
    Row {
        name: "nested levels, dropped as a whole",
        run: nested_levels,
    },
    Row {
        name: "ended places, each inside of the last",
        run: ended_places,
    },
    Row {
        name: "guards inside of one guard, at random",
        run: inside_of_one,
    },
    Row {
        name: "a chain of exits, each leaves the next",
        run: chain,
    },
];

#[async_context]
async fn item() -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    yield_now().await;
    Ok(())
}

/// A context whose exit does this work.
#[async_context]
async fn exiting<F>(work: F) -> Result<(), Infallible>
where
    F: Future<Output = Done> + Send + 'static,
{
    let ((), _) = yield_!(());
    work.await
}

fn main() -> ExitCode {
    let options = Options::parse();
    let numbers: Vec<usize> = [100, 1_000, 10_000, 100_000]
        .into_iter()
        .filter(|number| *number <= options.most)
        .collect();
    // Nested levels are polled, and dropped, one inside of the other.
    let run = thread::Builder::new()
        .stack_size(4 << 30)
        .spawn(move || measure(&options, &numbers));
    match run.map(thread::JoinHandle::join) {
        Ok(Ok(is_flat)) => ExitCode::from(u8::from(!is_flat)),
        Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}

fn measure(options: &Options, numbers: &[usize]) -> bool {
    let header = numbers
        .iter()
        .map(|number| format!("ns at {number}\tbytes at {number}"));
    println!(
        "way\t{}\tgrowth\tkept",
        header.collect::<Vec<_>>().join("\t")
    );
    let mut is_flat = true;
    let mut plain_growth = 1.0;
    for (index, row) in ROWS.iter().enumerate() {
        let mut times = Vec::new();
        let mut cells = Vec::new();
        let mut kept = 0;
        for number in numbers {
            let (time, bytes, left) = cost(row, *number, options.rounds);
            kept = kept.max(left);
            cells.push(format!("{time:.0}\t{bytes}"));
            times.push(time);
        }
        // From the second number on: with few, what is done once decides.
        let growth = times.last().copied().unwrap_or(1.0) / times.get(1).copied().unwrap_or(1.0);
        if index == 0 {
            plain_growth = growth.max(1.0);
        }
        let is_worse = options.check && (growth > 2.0 * plain_growth || kept > 4_096);
        is_flat &= !is_worse;
        let verdict = if is_worse { "\tWORSE" } else { "" };
        println!(
            "{}\t{}\t{growth:.2}\t{kept}{verdict}",
            row.name,
            cells.join("\t")
        );
    }
    is_flat
}

/// The least time per item in nanoseconds, the memory per item at the most, and what is kept at the end.
fn cost(row: &Row, number: usize, rounds: usize) -> (f64, u64, i64) {
    let mut least = f64::INFINITY;
    let mut bytes = u64::MAX;
    let mut kept = i64::MAX;
    for _ in 0..rounds {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("it starts");
        // What the runtime keeps for later is there already.
        (row.run)(&runtime, number);
        let mut time = 0.0;
        let info = allocation_counter::measure(|| {
            let begun = Instant::now();
            (row.run)(&runtime, number);
            time = begun.elapsed().as_secs_f64();
        });
        #[expect(clippy::cast_precision_loss, reason = "they are far fewer than 2^52")]
        let each = time * 1e9 / number as f64;
        least = least.min(each);
        bytes = bytes.min(info.bytes_max / number as u64);
        kept = kept.min(info.bytes_current);
    }
    (least, bytes, kept)
}

fn n_half<T>(all: &[T]) -> usize {
    all.len() / 2
}

fn shuffle<T>(all: &mut [T]) {
    all.shuffle(&mut SmallRng::seed_from_u64(7));
}

fn plain_tasks(runtime: &Runtime, number: usize) {
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..number {
            tasks.spawn(Box::pin(yield_now()));
        }
        while tasks.join_next().await.is_some() {}
    });
}

/// Polls a future that is not ready.
async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) {
    let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
}

async fn opened(number: usize) -> Vec<Guard<impl AsyncContext<Value = (), Error = Infallible>>> {
    let mut guards = Vec::with_capacity(number);
    for _ in 0..number {
        let Ok(guard) = item().guard().await;
        guards.push(guard);
    }
    guards
}

fn guards(runtime: &Runtime, number: usize, order: fn(&mut [usize])) {
    runtime.block_on(async {
        let mut guards: Vec<_> = opened(number).await.into_iter().map(Some).collect();
        let mut indexes: Vec<_> = (0..number).collect();
        order(&mut indexes);
        for index in indexes {
            guards[index] = None;
        }
        detached::drain().await;
    });
}

fn closed_in_an_exit(runtime: &Runtime, number: usize) {
    runtime.block_on(async {
        let own = opened(number).await;
        let others = opened(number).await;
        let owner = exiting(async move {
            for guard in own.into_iter().rev() {
                Guard::close(guard).await?;
            }
            Ok(())
        });
        let Ok(owner) = owner.guard().await;
        drop(others);
        drop(owner);
        detached::drain().await;
    });
}

fn exits_of_one_parent(runtime: &Runtime, number: usize) {
    runtime.block_on(async {
        let parent = exiting(async move {
            drop(opened(number).await);
            Ok(())
        });
        let Ok(()) = item()
            .with(async |()| parent.with(async |()| Ok(())).await)
            .await;
        detached::drain().await;
    });
}

fn aborted_tasks(runtime: &Runtime, number: usize) {
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..number {
            tasks.spawn(async {
                let Ok(_guard) = item().guard().await;
                pending::<()>().await;
            });
        }
        yield_now().await;
        tasks.shutdown().await;
        detached::drain().await;
    });
}

fn leases(runtime: &Runtime, number: usize, order: fn(&mut [usize])) {
    runtime.block_on(async {
        let stack = ExitStack::<Infallible>::new();
        let mut leases = Vec::with_capacity(number);
        for _ in 0..number {
            let Ok(lease) = stack.enter(item()).await;
            leases.push(Some(lease));
        }
        let mut indexes: Vec<_> = (0..number).collect();
        order(&mut indexes);
        for index in indexes {
            if let Some(lease) = leases[index].take() {
                let Ok(()) = lease.release().await;
            }
        }
        drop(leases);
        let Ok(()) = stack.exit(Ok(())).await;
    });
}

type Level = Pin<Box<dyn Future<Output = Done> + Send>>;

fn level(left: usize) -> Level {
    Box::pin(async move {
        let inside = async |()| match left {
            0 => pending().await,
            _ => level(left - 1).await,
        };
        item()
            .with_send(async move |(): &mut ()| inside(()).await)
            .await
    })
}

fn nested_levels(runtime: &Runtime, number: usize) {
    runtime.block_on(async {
        let mut levels = level(number);
        poll_once(levels.as_mut()).await;
        drop(levels);
        detached::drain().await;
    });
}

fn ended_places(runtime: &Runtime, number: usize) {
    runtime.block_on(async {
        let slow = || exiting(async { Ok(()) }).boxed();
        let Ok(mut page) = slow().guard().await;
        for _ in 0..number {
            let body = async |()| {
                let mut next = Box::pin(item_slowly().guard());
                poll_once(next.as_mut()).await;
                Ok(next)
            };
            let Ok(next) = item().with(async |(): &mut ()| body(()).await).await;
            let Ok(guard) = next.await;
            drop(guard);
            yield_now().await;
        }
        let Ok(last) = slow().guard().await;
        drop(std::mem::replace(&mut page, last));
        drop(page);
        detached::drain().await;
    });
}

/// Its enter waits once.
#[async_context]
async fn item_slowly() -> Result<(), Infallible> {
    yield_now().await;
    let ((), _) = yield_!(());
    Ok(())
}

fn inside_of_one(runtime: &Runtime, number: usize) {
    runtime.block_on(async {
        let Ok(pool) = item().guard().await;
        let mut guards = Vec::with_capacity(number);
        for _ in 0..number {
            let Ok(guard) = item().inside(&pool).guard().await;
            guards.push(guard);
        }
        shuffle(&mut guards);
        drop(guards);
        drop(pool);
        detached::drain().await;
    });
}

fn link(left: usize) -> BoxContext<(), Infallible> {
    exiting(async move {
        if left > 0 {
            let Ok(next) = link(left - 1).guard().await;
            drop(next);
        }
        Ok(())
    })
    .boxed()
}

fn chain(runtime: &Runtime, number: usize) {
    runtime.block_on(async {
        let Ok(first) = link(number).guard().await;
        drop(first);
        detached::drain().await;
    });
}
