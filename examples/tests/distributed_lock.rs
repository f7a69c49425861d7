//! Tests the program `distributed_lock`, run as a user runs it. The tests of the package
//! `async-context-leases` show what its lock promises.

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "what it prints is not the same each time")]
mod example;
mod redis_server;

use std::error::Error;
use std::process::{Command, Stdio};

use redis::Commands as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command as AsyncCommand;
use tokio::time::timeout;

use example::printed;
use redis_server::{Server, WATCHDOG, redis_url, send};

type AnyError = Box<dyn Error + Send + Sync>;
type Tested = Result<(), AnyError>;

fn program() -> Command {
    example::program("distributed_lock")
}

#[test]
fn help_tells_of_each_option() {
    let options = ["--workers", "--adds", "--kill", "--lease", "--redis-url"];
    example::has_help("distributed_lock", &options);
}

/// The lines with a `#` for each number, sorted: the workers may end in any order.
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
        // Longer than a process may stand still on a busy machine, so no lock is lost.
        .args(["--kill", "--lease", "5000", "--redis-url", &redis_url()])
        .output()?;
    let (stdout, stderr) = printed(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stderr, "", "{stdout}");
    let source = include_str!("../distributed_lock.rs");
    assert_eq!(forms(&stdout), forms(&example::shown(source)));
    assert!(stdout.ends_with("the counter is at 200, and nobody has the lock\n"));
    Ok(())
}

#[test]
#[ignore = "needs Redis"]
fn the_lease_of_a_process_that_is_killed_as_the_last_one_is_over_before_the_program_ends() -> Tested
{
    // No other process waits for the lock of the first one.
    let output = program()
        .args(["--kill", "--workers", "1", "--adds", "0", "--lease", "500"])
        .args(["--redis-url", &redis_url()])
        .output()?;
    let (stdout, stderr) = printed(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.ends_with("the counter is at 0, and nobody has the lock\n"));
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

#[tokio::test]
#[ignore = "needs Redis"]
async fn ctrl_c_leaves_nothing_on_redis() -> Tested {
    let server = Server::start()?;
    let mut process = AsyncCommand::from(program())
        .args(["--redis-url", &server.url()])
        .args(["--kill", "--adds", "1000000", "--lease", "1000"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // All workers are running once the counter has moved.
    let mut redis = server.connection()?;
    while redis.keys::<_, Vec<String>>("*:counter")?.is_empty() {
        tokio::task::yield_now().await;
    }
    send("INT", process.id().ok_or("it is running")?)?;
    let status = timeout(WATCHDOG, process.wait()).await??;
    assert_eq!(status.code(), Some(1));
    let stdout = process.stdout.take().ok_or("stdout is piped")?;
    assert_eq!(BufReader::new(stdout).lines().next_line().await?, None);

    let left: Vec<String> = redis.keys("*")?;
    // The lock of a process that was killed stays as long as its lease lasts.
    for lock in left {
        assert!(lock.ends_with(":lease"), "{lock}");
        let lease: i64 = redis.pttl(lock)?;
        assert!((-2..=1000).contains(&lease), "{lease}");
    }
    Ok(())
}
