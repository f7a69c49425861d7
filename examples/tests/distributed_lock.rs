//! The program `distributed_lock`, run as a user runs it, and its lock on its own: on a Redis that is
//! there, and on one that is stopped in the middle.

#![forbid(unsafe_code)]

#[path = "../distributed_lock/counter.rs"]
mod counter;
#[expect(dead_code, reason = "what it prints is not the same each time")]
mod example;
#[path = "../distributed_lock/lock.rs"]
mod lock;

use std::error::Error;
use std::future::pending;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_context_manager::testing::cancel_everywhere;
use async_context_manager::{detached, prelude::*};
use redis::aio::ConnectionManager;
use redis::{AsyncCommands as _, Commands as _};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command as AsyncCommand};
use tokio::time::{sleep, sleep_until, timeout};

use counter::{Counter, place};
use example::printed;
use lock::{Lock, LockError, Terms, connect, eval, fence_key, lock};

type AnyError = Box<dyn Error + Send + Sync>;
type Tested = Result<(), AnyError>;

/// What has not come by then hangs.
const WATCHDOG: Duration = Duration::from_mins(2);

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);

fn program() -> Command {
    example::program("distributed_lock")
}

fn redis_url() -> String {
    std::env::var("REDIS_URL")
        .unwrap_or_else(|_| panic!("REDIS_URL has to name a Redis, such as redis://127.0.0.1:6379"))
}

/// The numbers in the last line of a worker: added, given up, lost, without Redis.
fn turns(line: &str) -> Option<[u64; 4]> {
    line.contains(": added ").then_some(())?;
    let words = line.split([' ', ',']).skip(2);
    let mut numbers = words.filter_map(|word| word.parse().ok());
    Some(std::array::from_fn(|_| numbers.next().unwrap_or(u64::MAX)))
}

#[test]
fn help_tells_of_each_option() {
    let options = [
        "--workers",
        "--adds",
        "--kill",
        "--keep",
        "--lease",
        "--patience",
        "--seed",
        "--redis-url",
    ];
    example::has_help("distributed_lock", &options);
}

/// The lines with a `#` for each number, in alphabetical order: the workers end in any.
fn forms(text: &str) -> Vec<String> {
    let form = |line: &str| {
        line.chars().fold(String::new(), |mut form, c| {
            if !c.is_ascii_digit() {
                form.push(c);
            } else if !form.ends_with('#') {
                form.push('#');
            }
            form
        })
    };
    let mut forms: Vec<_> = text.lines().map(form).collect();
    forms.sort();
    forms
}

#[test]
#[ignore = "needs Redis"]
fn it_prints_what_its_docs_show() -> Tested {
    let output = program()
        .args(["--kill", "--redis-url", &redis_url()])
        .output()?;
    let (stdout, stderr) = printed(&output);
    assert_eq!(stderr, "", "{stdout}");
    let source = include_str!("../distributed_lock/main.rs");
    assert_eq!(forms(&stdout), forms(&example::shown(source)));
    Ok(())
}

#[test]
fn without_a_redis_the_program_says_so() -> Tested {
    let url = "redis://127.0.0.1:1";
    let output = program().args(["--redis-url", url]).output()?;
    let (_, stderr) = printed(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.starts_with("error: no Redis at redis://127.0.0.1:1: "),
        "{stderr}"
    );
    Ok(())
}

#[test]
#[ignore = "needs Redis"]
fn of_5000_contended_locks_no_two_are_held_at_once() -> Tested {
    let output = program()
        .args(["--redis-url", &redis_url()])
        .args(["--workers", "8", "--adds", "5000", "--kill"])
        // Longer than a process may stand still on a busy machine: then none is lost.
        .args(["--lease", "5000", "--patience", "60000"])
        .output()?;
    let (stdout, stderr) = printed(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    // No exit has failed, above all none because the lock was another's by then.
    assert_eq!(stderr, "", "{stdout}");
    assert!(stdout.contains("worker 1: keeps the lock\nworker 1: killed\n"));
    let workers: Vec<_> = stdout.lines().filter_map(turns).collect();
    assert_eq!(workers.len(), 7, "{stdout}");
    assert!(
        workers.iter().any(|[_, given_up, ..]| *given_up > 0),
        "{stdout}"
    );
    for [_, _, lost, no_redis] in workers {
        assert_eq!((lost, no_redis), (0, 0), "{stdout}");
    }
    let last = stdout.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("the counter is at 5000 after 5000 writes, 0 refused; the lock had "),
        "{last}"
    );
    assert!(last.ends_with(" owners, and is free"), "{last}");
    Ok(())
}

/// A Redis of the test's own. On a socket file: nobody else takes that while it is down.
struct Server {
    directory: TempDir,
    process: Child,
}

impl Server {
    async fn start() -> Result<Self, AnyError> {
        let directory = TempDir::new()?;
        let process = Self::launch(directory.path())?;
        let server = Self { directory, process };
        server.connection().await;
        Ok(server)
    }

    /// What it has said is on disk: so it still knows that when it is started again.
    fn launch(directory: &Path) -> io::Result<Child> {
        Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "redis.sock", "--dir"])
            .arg(directory)
            .args([
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("can't start redis-server: {error}")))
    }

    fn url(&self) -> String {
        format!(
            "redis+unix://{}",
            self.directory.path().join("redis.sock").display()
        )
    }

    /// One that answers.
    async fn connection(&self) -> ConnectionManager {
        let connected = async {
            loop {
                if let Ok(mut redis) = connect(&self.url()).await
                    && redis.ping::<String>().await.is_ok()
                {
                    return redis;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(WATCHDOG, connected)
            .await
            .expect("redis-server starts")
    }

    fn signal(&self, signal: &str) -> Tested {
        send(signal, self.process.id())
    }
}

fn send(signal: &str, process: u32) -> Tested {
    let kill = format!("kill -s {signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status()?.success());
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn line_with(lines: &mut Lines<BufReader<ChildStdout>>, wanted: &str) -> Tested {
    while let Some(line) = timeout(WATCHDOG, lines.next_line()).await?? {
        if line == wanted {
            return Ok(());
        }
    }
    Err(format!("the program has ended without `{wanted}`").into())
}

/// Runs the program on a Redis that is stopped for two seconds while a worker has the lock, and then is
/// there again.
async fn outage(
    mut server: Server,
    stop: impl AsyncFnOnce(&mut Server) -> Tested,
    start: impl AsyncFnOnce(&mut Server) -> Tested,
) -> Tested {
    let mut process = AsyncCommand::from(program())
        .args(["--redis-url", &server.url()])
        .args([
            "--workers",
            "6",
            "--adds",
            "1000",
            "--keep",
            "--lease",
            "600",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = process.stdout.take().ok_or("stdout is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    line_with(&mut lines, "worker 1: keeps the lock").await?;

    let up_again = tokio::time::Instant::now() + Duration::from_secs(2);
    stop(&mut server).await?;
    // There is no Redis to say so, and still the body learns it.
    line_with(&mut lines, "worker 1: has lost the lock that it kept").await?;
    sleep_until(up_again).await;
    start(&mut server).await?;

    let mut told = Vec::new();
    while let Some(line) = timeout(WATCHDOG, lines.next_line()).await?? {
        told.push(line);
    }
    let status = timeout(WATCHDOG, process.wait()).await??;
    println!("{told:#?}");
    assert!(status.success());
    let workers: Vec<_> = told.iter().filter_map(|line| turns(line)).collect();
    assert_eq!(workers.len(), 6, "{told:#?}");
    let last = told.last().ok_or("it ends with the counter")?;
    assert!(
        last.starts_with("the counter is at 1000 after 1000 writes, "),
        "{last}"
    );
    assert!(last.ends_with(" owners, and is free"), "{last}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_that_is_killed_and_started_again_loses_locks_but_nobody_hangs() -> Tested {
    let stop = async |server: &mut Server| {
        server.process.kill()?;
        server.process.wait()?;
        Ok(())
    };
    let start = async |server: &mut Server| {
        server.process = Server::launch(server.directory.path())?;
        Ok(())
    };
    outage(Server::start().await?, stop, start).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_that_stands_still_and_goes_on_loses_locks_but_nobody_hangs() -> Tested {
    let stop = async |server: &mut Server| server.signal("STOP");
    let start = async |server: &mut Server| server.signal("CONT");
    outage(Server::start().await?, stop, start).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn ctrl_c_leaves_nothing_on_redis() -> Tested {
    let server = Server::start().await?;
    let mut process = AsyncCommand::from(program())
        .args(["--redis-url", &server.url()])
        .args(["--keep", "--lease", "1000"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = process.stdout.take().ok_or("stdout is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    line_with(&mut lines, "worker 1: keeps the lock").await?;
    send("INT", process.id().ok_or("it is running")?)?;
    let status = timeout(WATCHDOG, process.wait()).await??;
    assert_eq!(status.code(), Some(1));

    let mut redis = server.connection().await;
    let left: Vec<String> = redis.keys("*").await?;
    // The lock of a process that was killed, for as long as its lease lasts.
    let [lock] = &left[..] else {
        return Err(format!("{left:?}").into());
    };
    let lease: i64 = redis.pttl(lock).await?;
    assert!((-2..=1000).contains(&lease), "{lease}");
    Ok(())
}

/// A lock that nobody else has heard of, on the Redis that is there.
async fn unheard_of() -> (ConnectionManager, String) {
    let redis = connect(&redis_url())
        .await
        .expect("REDIS_URL names a Redis");
    (
        redis,
        format!("distributed_lock:test:{:016x}", rand::random::<u64>()),
    )
}

const TERMS: Terms = Terms {
    lease: Duration::from_millis(1500),
    patience: LONG,
};

async fn remove(mut redis: ConnectionManager, name: &str) -> Tested {
    Ok(redis.del((name, fence_key(name))).await?)
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn the_body_is_told_when_its_lock_is_gone() -> Tested {
    let (mut redis, name) = unheard_of().await;
    let result = lock(redis.clone(), name.clone(), TERMS)
        .try_with(async |lock| {
            let () = redis.del(&name).await?;
            assert!(!lock.is_lost());
            let told: Result<(), _> = lock.run(pending()).await;
            assert!(lock.is_lost());
            told
        })
        .await;
    // Once: the exit adds nothing to it.
    assert!(
        matches!(result, Err(Failure::Body(LockError::Lost))),
        "{result:?}"
    );
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_body_that_did_not_notice_fails_and_the_other_s_lock_stays() -> Tested {
    let (mut redis, name) = unheard_of().await;
    let result = lock(redis.clone(), name.clone(), TERMS)
        .try_with(async |_| Ok(redis.set::<_, _, ()>(&name, "another's").await?))
        .await;
    assert!(
        matches!(
            result,
            Err(Failure::Exit {
                error: LockError::Lost,
                ..
            })
        ),
        "{result:?}"
    );
    assert_eq!(redis.get::<_, String>(&name).await?, "another's");
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_late_write_is_refused_by_its_fencing_token() -> Tested {
    place(redis_url())
        .with(async |name| {
            let mut redis = connect(&redis_url()).await?;
            let mut counter = Counter::of(redis.clone(), name);
            // Paused after it has read, for longer than its lease: and then it does not look.
            let paused = lock(redis.clone(), name.clone(), TERMS).guard().await?;
            let value = counter.read(paused.fence()).await?;
            let () = redis.del(&*name).await?;

            let next = lock(redis.clone(), name.clone(), TERMS).guard().await?;
            assert!(next.fence() > paused.fence());
            assert_eq!(counter.read(next.fence()).await?, value);
            assert!(!counter.write(paused.fence(), 7).await?);
            assert!(counter.write(next.fence(), 1).await?);
            assert_eq!(counter.read(paused.fence()).await?, None);
            Guard::close(next).await?;
            let late = Guard::close(paused).await;
            assert!(matches!(late, Err(LockError::Lost)), "{late:?}");

            let tally = counter.tally().await?;
            assert_eq!((tally.value, tally.writes, tally.refused), (1, 1, 2));
            Ok(())
        })
        .await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn the_lease_is_renewed_until_the_body_ends() -> Tested {
    let (mut redis, name) = unheard_of().await;
    lock(redis.clone(), name.clone(), TERMS)
        .with(async |lock: &mut Lock| {
            let begun = Instant::now();
            while begun.elapsed() <= TERMS.lease {
                let left: i64 = redis.pttl(&name).await?;
                assert!(left > 0, "the lease has run out");
                sleep(Duration::from_millis(20)).await;
            }
            assert!(!lock.is_lost());
            Ok(())
        })
        .await?;
    assert!(!redis.exists::<_, bool>(&name).await?);
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_dead_owner_s_lock_is_free_when_its_lease_is_over() -> Tested {
    let (mut redis, name) = unheard_of().await;
    let () = redis.pset_ex(&name, "a dead owner's", 60_000).await?;
    let patience = Duration::from_millis(100);
    let terms = Terms { patience, ..TERMS };
    let result = lock(redis.clone(), name.clone(), terms)
        .with(async |_| Ok(()))
        .await;
    assert!(
        matches!(result, Err(LockError::Busy(limit)) if limit == patience),
        "{result:?}"
    );

    let () = redis.pset_ex(&name, "a dead owner's", 200).await?;
    let begun = Instant::now();
    let fence = lock(redis.clone(), name.clone(), TERMS)
        .with(async |lock| Ok(lock.fence()))
        .await?;
    assert_eq!(fence, 1);
    assert!(begun.elapsed() >= Duration::from_millis(190));
    let fence = lock(redis.clone(), name.clone(), TERMS)
        .with(async |lock| Ok(lock.fence()))
        .await?;
    assert_eq!(fence, 2);
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn whoever_gives_up_waiting_is_gone_at_once() -> Tested {
    let (mut redis, name) = unheard_of().await;
    let () = redis.pset_ex(&name, "another's", 60_000).await?;
    // Given up in the middle of an attempt, or between two of them.
    for limit in (0..60).map(Duration::from_millis) {
        let waiting = lock(redis.clone(), name.clone(), TERMS).with(async |_| Ok(()));
        assert!(timeout(limit, waiting).await.is_err());
    }
    // They would wait for an hour, if they went on.
    timeout(Duration::from_secs(30), detached::drain()).await?;
    assert_eq!(redis.get::<_, String>(&name).await?, "another's");
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn given_up_at_any_poll_the_key_is_gone() -> Tested {
    let (redis, name) = unheard_of().await;
    let mut looking = redis::Client::open(redis_url())?.get_connection()?;
    let runs = cancel_everywhere(
        || {
            let mut redis = redis.clone();
            lock(redis.clone(), name.clone(), TERMS).with(async move |lock| {
                let work = async { Ok::<_, LockError>(redis.ping::<String>().await?) };
                lock.run(work).await
            })
        },
        |run| {
            let left: bool = looking.exists(&name).expect("Redis answers");
            assert!(!left, "the key is still there");
            assert!(run.reports().is_empty(), "{run:?}");
        },
    )
    .await;
    assert!(runs > 3, "{runs}");
    remove(redis, &name).await
}

/// Both are sent to a Redis that stands still. It does what it was told when it goes on, in order.
async fn what_a_stopped_redis_leaves(
    redis: &mut ConnectionManager,
    name: &str,
) -> Result<(bool, Option<u64>), AnyError> {
    let keys = [name, &fence_key(name)];
    let look = "return {redis.call('EXISTS', KEYS[1]), redis.call('GET', KEYS[2])}";
    Ok(eval(look, &keys).query_async(redis).await?)
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn an_acquire_whose_answer_never_came_leaves_no_key() -> Tested {
    let server = Server::start().await?;
    let mut redis = server.connection().await;
    let terms = Terms {
        lease: LONG,
        patience: LONG,
    };
    server.signal("STOP")?;
    let result = lock(redis.clone(), "lock".into(), terms)
        .with(async |_| Ok(()))
        .await;
    assert!(
        matches!(&result, Err(LockError::Redis(error)) if error.is_timeout()),
        "{result:?}"
    );
    server.signal("CONT")?;
    assert_eq!(
        what_a_stopped_redis_leaves(&mut redis, "lock").await?,
        (false, Some(1))
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn an_acquire_that_is_given_up_on_its_way_leaves_no_key() -> Tested {
    let server = Server::start().await?;
    let mut redis = server.connection().await;
    let terms = Terms {
        lease: LONG,
        patience: LONG,
    };
    server.signal("STOP")?;
    let use_of_it = lock(redis.clone(), "lock".into(), terms).with(async |_| Ok(()));
    assert!(timeout(Duration::from_millis(20), use_of_it).await.is_err());
    assert_eq!(detached::count(), 1);
    server.signal("CONT")?;
    timeout(WATCHDOG, detached::drain()).await?;
    assert_eq!(
        what_a_stopped_redis_leaves(&mut redis, "lock").await?,
        (false, Some(1))
    );
    Ok(())
}
