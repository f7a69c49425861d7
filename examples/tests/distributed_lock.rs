//! The program `distributed_lock`, run as a user runs it: on a Redis that is there, and on one that is
//! stopped in the middle.

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "what it prints is not the same each time")]
mod example;
mod redis_server;

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::Commands as _;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command as AsyncCommand};
use tokio::time::{Instant, sleep_until, timeout};

use example::printed;
use redis_server::{Server, WATCHDOG, redis_url, send};

type AnyError = Box<dyn Error + Send + Sync>;
type Tested = Result<(), AnyError>;

fn program() -> Command {
    example::program("distributed_lock")
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
    stop: impl FnOnce(&mut Server) -> Tested,
    start: impl FnOnce(&mut Server) -> Tested,
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

    let up_again = Instant::now() + Duration::from_secs(2);
    stop(&mut server)?;
    // There is no Redis to say so, and still the body learns it.
    line_with(&mut lines, "worker 1: has lost the lock that it kept").await?;
    sleep_until(up_again).await;
    start(&mut server)?;

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
    let stop = |server: &mut Server| server.kill();
    let start = |server: &mut Server| server.start_again();
    outage(Server::start()?, stop, start).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_that_stands_still_and_goes_on_loses_locks_but_nobody_hangs() -> Tested {
    let stop = |server: &mut Server| server.signal("STOP");
    let start = |server: &mut Server| server.signal("CONT");
    outage(Server::start()?, stop, start).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn ctrl_c_leaves_nothing_on_redis() -> Tested {
    let server = Server::start()?;
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

    let mut redis = server.connection()?;
    let left: Vec<String> = redis.keys("*")?;
    // The lock of a process that was killed, for as long as its lease lasts.
    let [lock] = &left[..] else {
        return Err(format!("{left:?}").into());
    };
    let lease: i64 = redis.pttl(lock)?;
    assert!((-2..=1000).contains(&lease), "{lease}");
    Ok(())
}
