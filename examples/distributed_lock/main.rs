//! A lock that processes on many machines take in turns, on a Redis: and a proof that there were
//! never two owners at once.
//!
//! ```text
//! $ cargo run --example distributed_lock -- --kill
//! worker 1: keeps the lock
//! worker 1: killed
//! worker 4: added 91, gave up 8, lost the lock 0 times, had no Redis 0 times
//! worker 3: added 23, gave up 1, lost the lock 0 times, had no Redis 0 times
//! worker 2: added 5, gave up 4, lost the lock 0 times, had no Redis 0 times
//! the counter is at 200 after 200 writes, 0 refused; the lock had 208 owners, and is free
//! ```
//!
//! Several processes add to one counter, which they read, and then write with one more: whoever
//! does not have it to itself overwrites what others have added. A quarter of their turns is given
//! up where it takes more than a random time, and with `--kill` the first process is killed while
//! it has the lock; the others go on when its lease is over.
//!
//! The lock is one function (see `lock.rs`). In short:
//!
//! ```text
//! #[async_context]
//! async fn lock(redis: ConnectionManager, name: String, terms: Terms) -> Result<Lock, LockError> {
//!     let claim = Claim::new(redis, name, terms.lease);             // with a random token
//!     let Held { fence, until } = cancellable!(wait(&claim, terms.patience)).await?;
//!     let (_, outcome) = yield_!(Lock { fence }, claim.clone().keep(until));
//!     claim.release().await                                         // if it is still ours
//! }
//! ```
//!
//! - It is taken by `SET name token NX PX lease`, with a backoff while others have it, for as long
//!   as the patience lasts. Waiting can be given up at once; an attempt whose answer is on its way
//!   is undone, and so is one whose answer never came.
//! - The second argument of `yield_!` runs beside the body, and renews the lease. It is no task: it
//!   ends with the body, and dies with the process. Then the key expires.
//! - When the lock is lost (the key is gone, or Redis did not answer until the lease was over), the
//!   body drops at once, and the caller gets `Lost`. A body that completes before that is known
//!   fails in its exit.
//! - Only who holds the token removes the key: compare and delete in one script.
//!
//! **What a lock on one Redis does not promise.** That there is one owner at any moment. The lease
//! runs by two clocks; a process can be paused longer than its lease, between any two instructions,
//! and write when it wakes up; a Redis that fails over to a replica, or restarts without its data,
//! forgets locks. So each owner gets a *fencing token*, a number from the same script that is
//! higher than all before (`INCR`; no more than Redis itself does that outlive a loss of its data).
//! What is protected has to keep the highest number that it has seen, and to refuse lower ones, as
//! `counter.rs` does. The lock makes conflicts rare; the fencing token makes them harmless. It is
//! not fair either: who waits longest is not served first.
//!
//! | file | subject |
//! | --- | --- |
//! | `lock.rs` | the lock |
//! | `counter.rs` | what it protects, with the check of the fencing token |
//! | `worker.rs`, `main.rs` | one of the processes; all of them |

#![forbid(unsafe_code)]

mod counter;
mod lock;
mod worker;

use std::convert::Infallible;
use std::error::Error;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use async_context_manager::{contexts::tasks, detached, prelude::*};
use clap::Parser;
use redis::AsyncCommands as _;
use redis::aio::ConnectionManager;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio::{select, signal};

use crate::counter::{Counter, place};
use crate::lock::{Terms, connect};

type AnyError = Box<dyn Error + Send + Sync>;

/// Adds to one counter from several processes, which take a lock on Redis in turns, and proves that
/// there were never two owners.
///
/// Exits with 0 if every addition is in the counter and the lock is free in the end; with 1 if not,
/// or if Redis can't be reached for longer than the patience; with 2 for a wrong option.
#[derive(Debug, Clone, Parser)]
#[command(name = "distributed_lock", version)]
struct Options {
    /// How many processes add to the counter
    #[arg(long, value_name = "N", default_value = "4",
          value_parser = clap::value_parser!(u16).range(1..=100))]
    workers: u16,

    /// Where the counter has to get to
    #[arg(long, value_name = "N", default_value = "200")]
    adds: u64,

    /// Kill the first process while it has the lock
    #[arg(long)]
    kill: bool,

    /// Let the first process keep the lock, once it has it, until it is lost
    #[arg(long, conflicts_with = "kill")]
    keep: bool,

    /// How many milliseconds the lock of a dead process stays
    #[arg(long, value_name = "MS", default_value = "1000",
          value_parser = clap::value_parser!(u64).range(100..))]
    lease: u64,

    /// How many milliseconds a process waits for the lock, or for Redis, before it fails
    #[arg(long, value_name = "MS", default_value = "20000")]
    patience: u64,

    /// Decides which turns are given up, and when
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,

    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    redis_url: String,

    /// Be one of the processes
    #[arg(long, hide = true, requires = "name")]
    worker: Option<u16>,

    /// The lock's
    #[arg(long, hide = true)]
    name: Option<String>,
}

impl Options {
    fn terms(&self) -> Terms {
        Terms {
            lease: Duration::from_millis(self.lease),
            patience: Duration::from_millis(self.patience),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match (options.worker, options.name.clone()) {
        // What was given up is released before the process ends.
        (Some(number), Some(name)) => {
            detached::drained(Box::pin(worker::run(number, name, options))).await
        }
        _ => detached::drained(Box::pin(run_or_stop(options))).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// After Ctrl-C the processes are killed, and what the program has left on Redis is removed.
async fn run_or_stop(options: Options) -> Result<(), AnyError> {
    select! {
        ended = run(options) => ended,
        _ = signal::ctrl_c() => Err("interrupted".into()),
    }
}

async fn run(options: Options) -> Result<(), AnyError> {
    let url = &options.redis_url;
    place(url.clone())
        .with(async |name| {
            let (running, mut run) = mpsc::channel::<Infallible>(1);
            let followed = tasks().with(async |tasks| {
                for number in 1..=options.workers {
                    let kill = options.kill && number == 1;
                    tasks.spawn(follow(number, name.clone(), kill, running.clone()));
                }
                drop(running);
                // Nobody sends: this ends with the last of them. The exit of the tasks would wait
                // as well, but not be interrupted.
                run.recv().await;
                Ok(())
            });
            followed.await?;

            let redis = connect(url).await?;
            let free = is_free(redis.clone(), name, options.terms().lease).await?;
            let tally = Counter::of(redis, name).tally().await?;
            let verdict = if free { "free" } else { "not free" };
            println!("{tally}, and is {verdict}");
            let whole = (options.adds, options.adds);
            if free && (tally.value, tally.writes) == whole {
                Ok(())
            } else {
                Err("that does not fit".into())
            }
        })
        .await
}

/// One of the processes. It does not outlive its context.
#[async_context]
async fn process(number: u16, name: String) -> Result<Child, AnyError> {
    let child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(["--worker", &number.to_string(), "--name", &name])
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut child, _) = yield_!(child);
    if child.id().is_some() {
        child.kill().await?;
    }
    Ok(())
}

/// Runs a process, and passes on what it tells.
async fn follow(
    number: u16,
    name: String,
    kill: bool,
    _running: mpsc::Sender<Infallible>,
) -> Result<(), AnyError> {
    let followed = process(number, name).with(async |child| {
        let stdout = child.stdout.take().ok_or("stdout is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            println!("worker {number}: {line}");
            if kill && line == worker::KEEPS {
                child.kill().await?;
                println!("worker {number}: killed");
                return Ok(());
            }
        }
        let status = child.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("worker {number} failed: {status}").into())
        }
    });
    followed.await
}

/// Is the lock free, if need be after the lease of one that could not release it?
async fn is_free(
    mut redis: ConnectionManager,
    name: &str,
    lease: Duration,
) -> Result<bool, AnyError> {
    if redis.exists(name).await? {
        sleep(lease).await;
    }
    let is_held: bool = redis.exists(name).await?;
    Ok(!is_held)
}
