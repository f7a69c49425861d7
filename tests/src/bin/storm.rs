//! Measures the cost of 10,000 requests that all time out, and whose exits take a while, among
//! healthy requests.
//!
//! `cargo run --release -p tests --bin storm` prints a line for each program: how many healthy
//! requests it answers per second, the largest number of exits in the background, and the largest
//! use of memory.

use std::env;
use std::error::Error;
use std::fs;
use std::future::pending;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_context_manager::detached;
use async_context_manager::prelude::*;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, interval, sleep, timeout};

type AnyError = Box<dyn Error + Send + Sync>;

const LIMIT: usize = 100;
const REQUESTS: u32 = 10_000;
const TIME: Duration = Duration::from_secs(5);
const TIME_LIMIT: Duration = Duration::from_millis(50);
const EXIT: Duration = Duration::from_millis(250);
const CLIENTS: usize = 16;

static ANSWERED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Holds as much memory as a connection does.
#[async_context]
async fn hanging_request() -> Result<Vec<u8>, String> {
    let (buffer, _) = yield_!(vec![1; 64 * 1024]);
    MOST.fetch_max(detached::count(), Ordering::Relaxed);
    sleep(EXIT).await;
    drop(buffer);
    Ok(())
}

#[async_context]
async fn request() -> Result<(), String> {
    let ((), _) = yield_!(());
    yield_now().await;
    Ok(())
}

#[async_context]
async fn session() -> Result<(), String> {
    let ((), _) = yield_!(());
    Ok(())
}

async fn answer_requests() -> Result<(), String> {
    while !IS_OVER.load(Ordering::Relaxed) {
        let used = request().with(async |()| {
            yield_now().await;
            Ok(())
        });
        used.await?;
        ANSWERED.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Spreads the hanging requests evenly over the whole time.
async fn storm() {
    let mut requests = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(1));
    let begun = Instant::now();
    for number in 0..REQUESTS {
        while begun.elapsed() < TIME * number / REQUESTS {
            ticks.tick().await;
        }
        let request = hanging_request().with(async |_| pending::<Result<(), String>>().await);
        requests.spawn(timeout(TIME_LIMIT, request));
    }
    let ended = requests.join_all().await;
    assert!(ended.iter().all(Result::is_err));
}

async fn run(live: &str, storms: &str) -> Result<(), AnyError> {
    if matches!(storms, "calm, limit" | "limit") {
        detached::set_limit(LIMIT);
    }
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        match live {
            "session" => clients.spawn(session().with(async |()| answer_requests().await)),
            _ => clients.spawn(answer_requests()),
        };
    }
    match storms {
        "calm" | "calm, limit" => sleep(TIME).await,
        _ => storm().await,
    }
    IS_OVER.store(true, Ordering::Relaxed);
    let time = begun.elapsed();
    for ended in clients.join_all().await {
        ended?;
    }
    detached::drain().await;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!(
        "{:>9} requests/s  {:>5} exits  {}",
        ANSWERED.load(Ordering::Relaxed) * 1000 / usize::try_from(time.as_millis())?,
        MOST.load(Ordering::Relaxed),
        memory.unwrap_or_default().trim(),
    );
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), AnyError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [live, storms] = &arguments[..] {
        return run(live, storms).await;
    }
    for live in ["session", "outermost"] {
        for storms in ["calm", "calm, limit", "no limit", "limit"] {
            let output = Command::new(env::current_exe()?)
                .args([live, storms])
                .output()?;
            let line = String::from_utf8_lossy(&output.stdout);
            println!("{live:9}  {storms:11}  {}", line.trim_end());
        }
    }
    Ok(())
}
