//! A lock that processes on many machines take in turns, by the package `async-context-leases`, on
//! Redis.
//!
//! ```text
//! $ cargo run --example distributed_lock -- --kill
//! worker 1: keeps the lock
//! worker 1: killed
//! worker 4: added 77
//! worker 3: added 58
//! worker 2: added 60
//! the counter is at 200, and nobody has the lock
//! ```
//!
//! Several processes add to one counter, which they read, and then write with one more: a process
//! without exclusive access would overwrite what others have added. With `--kill`, the first
//! process is killed while it has the lock. The others go on when its lease is over.
//!
//! The code to write is in `turn`: a context, and a write with its fencing token. The package
//! waits, renews, ends the body when the lock is lost, and releases. Its `README.md` says what a
//! lock cannot promise, and why the counter must check the token. Here the counter is on the same
//! Redis. It could be any file store or database with such a check; for PostgreSQL the package has
//! `pass_fence`.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use async_context_leases::{LeaseError, RedisStore, Store as _, lease};
use async_context_manager::{contexts::tasks, detached, prelude::*};
use clap::Parser;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, Client, RedisError, RedisResult};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio::{select, signal};

type AnyError = Box<dyn Error + Send + Sync>;

/// Adds to one counter from several processes, which take a lock on Redis in turns.
///
/// Exits with 0 if every addition is in the counter and nobody has the lock in the end; with 1 if
/// not, or if Redis can't be reached; with 2 for a wrong option.
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

    /// How many milliseconds the lock of a dead process stays
    #[arg(long, value_name = "MS", default_value = "1000",
          value_parser = clap::value_parser!(u64).range(100..))]
    lease: u64,

    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    redis_url: String,

    /// Be one of the processes
    #[arg(long, hide = true, requires = "name")]
    worker: Option<u16>,

    /// The lock's
    #[arg(long, hide = true)]
    name: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let ended = if let (Some(number), Some(name)) = (options.worker, options.name.clone()) {
        detached::drained(work(number, name, options)).await
    } else {
        // After Ctrl-C, the processes are killed, and what they have left on Redis is removed.
        let run = Box::pin(async {
            select! {
                ended = run(options) => ended,
                _ = signal::ctrl_c() => Err("interrupted".into()),
            }
        });
        detached::drained(run).await
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A connection that reconnects by itself, and never blocks a caller for long.
async fn connect(url: &str) -> RedisResult<ConnectionManager> {
    let patience = Some(Duration::from_millis(500));
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(patience)
        .set_response_timeout(patience)
        .set_number_of_retries(0);
    ConnectionManager::new_with_config(Client::open(url)?, config).await
}

/// What the lock protects. It refuses writes with a lower token than it has seen.
#[derive(Clone)]
struct Counter {
    redis: ConnectionManager,
    key: String,
}

const WRITE: &str = "
    if tonumber(redis.call('HGET', KEYS[1], 'token') or 0) > tonumber(ARGV[1]) then
        return 0
    end
    redis.call('HSET', KEYS[1], 'token', ARGV[1], 'value', ARGV[2])
    return 1
";

impl Counter {
    async fn read(&mut self) -> RedisResult<u64> {
        let value: Option<u64> = self.redis.hget(&self.key, "value").await?;
        Ok(value.unwrap_or(0))
    }

    async fn write(&mut self, token: u64, value: u64) -> RedisResult<bool> {
        let mut write = redis::cmd("EVAL");
        write.arg(WRITE).arg(1).arg(&self.key).arg(token).arg(value);
        write.query_async(&mut self.redis).await
    }
}

const KEEPS: &str = "keeps the lock";

/// Holds the lock for one addition. Returns `false` if there is nothing left to add.
async fn turn(
    store: RedisStore<ConnectionManager>,
    mut counter: Counter,
    name: &str,
    options: &Options,
    keeps: bool,
) -> Result<bool, LeaseError<RedisError>> {
    lease(store, name)
        .ttl(Duration::from_millis(options.lease))
        .backoff(Duration::from_millis(2), Duration::from_millis(50))
        .with(async |lease| {
            let value = counter.read().await?;
            if keeps && value >= options.adds / 2 {
                println!("{KEEPS}");
                return pending().await;
            }
            if value >= options.adds {
                return Ok(false);
            }
            // A process without exclusive access would now overwrite what others have added.
            sleep(Duration::from_millis(1)).await;
            if counter.write(lease.token(), value + 1).await? {
                Ok(true)
            } else {
                Err(LeaseError::Lost)
            }
        })
        .await
}

/// One of the processes: takes turns until the counter has reached its goal.
async fn work(number: u16, name: String, options: Options) -> Result<(), AnyError> {
    let redis = connect(&options.redis_url).await?;
    let store = RedisStore::new(redis.clone());
    let key = counter_key(&name);
    let counter = Counter { redis, key };
    let keeps = options.kill && number == 1;
    let mut added = 0;
    loop {
        match turn(store.clone(), counter.clone(), &name, &options, keeps).await {
            Ok(true) => added += 1,
            Ok(false) => break,
            Err(LeaseError::Lost) => println!("has lost the lock"),
            Err(error) => return Err(error.into()),
        }
    }
    println!("added {added}");
    Ok(())
}

fn counter_key(name: &str) -> String {
    format!("{name}:counter")
}

/// A name for a lock and its counter that nobody else uses. What is left on Redis is removed at the
/// end.
#[async_context]
async fn place(redis_url: String) -> Result<String, AnyError> {
    let reached = connect(&redis_url).await;
    reached.map_err(|error| format!("no Redis at {redis_url}: {error}"))?;
    let name = format!("distributed_lock:{:016x}", rand::random::<u64>());
    let (name, _) = yield_!(name);
    // Not the first connection, which may have broken since.
    let mut redis = connect(&redis_url).await?;
    let token_key = format!("{{{name}}}:token");
    Ok(redis.del((counter_key(&name), token_key)).await?)
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

/// Runs a process, and passes on its output.
async fn follow(
    number: u16,
    name: String,
    _running: mpsc::Sender<Infallible>,
) -> Result<(), AnyError> {
    let followed = process(number, name).with(async |child| {
        let stdout = child.stdout.take().ok_or("stdout is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            println!("worker {number}: {line}");
            if line == KEEPS {
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

async fn run(options: Options) -> Result<(), AnyError> {
    let url = &options.redis_url;
    place(url.clone())
        .with(async |name| {
            let (running, mut run) = mpsc::channel::<Infallible>(1);
            let followed = tasks().with(async |tasks| {
                for number in 1..=options.workers {
                    tasks.spawn(follow(number, name.clone(), running.clone()));
                }
                drop(running);
                // Nobody sends: this ends with the last process. The exit of the tasks would wait
                // as well, but could not be interrupted.
                run.recv().await;
                Ok(())
            });
            followed.await?;

            let redis = connect(url).await?;
            let store = RedisStore::new(redis.clone());
            let key = counter_key(name);
            let mut counter = Counter { redis, key };
            // The process that is killed may be the last to get the lock. Then this waits until its
            // lease is over.
            let value = lease(store.clone(), &*name)
                .ttl(Duration::from_millis(options.lease))
                .with(async |_| Ok(counter.read().await?))
                .await?;
            let holder = store.current(name).await?;
            let whose = if holder.is_none() {
                "nobody"
            } else {
                "somebody"
            };
            println!("the counter is at {value}, and {whose} has the lock");
            if holder.is_none() && value == options.adds {
                Ok(())
            } else {
                Err("that does not fit".into())
            }
        })
        .await
}
