//! A fixture that all tests of a program share: a server that the first test starts which needs it,
//! and that stops when the last test has ended.
//!
//! With `cargo test`, code after the last test of a program needs a `main` of its own
//! (`harness = false` in `Cargo.toml`). This `main` is as short as possible. All tests run on one
//! runtime: otherwise what is bound to a runtime, such as a server's task, would end with the test
//! that started it. At the end, `drained` closes what lingers.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_context_manager::{Shared, detached, prelude::*, shared};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

static STARTED: AtomicUsize = AtomicUsize::new(0);
static STOPPED: AtomicUsize = AtomicUsize::new(0);

/// A server that says hello. A container or a database could take its place.
#[async_context]
async fn server() -> io::Result<SocketAddr> {
    STARTED.fetch_add(1, Ordering::Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            client.write_all(b"hello").await.unwrap();
        }
    });
    let (_address, _) = yield_!(address);
    serving.abort();
    let _ = serving.await;
    STOPPED.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Without `linger`, the server would stop whenever no test uses it.
static SERVER: LazyLock<Shared<SocketAddr, io::Error>> =
    LazyLock::new(|| shared(server).linger(Duration::MAX));

type TestResult = Result<(), Arc<io::Error>>;

async fn the_server_says_hello() -> TestResult {
    let hello = SERVER.clone().with(async |address| {
        let mut text = String::new();
        let mut client = TcpStream::connect(**address).await?;
        client.read_to_string(&mut text).await?;
        Ok(text)
    });
    assert_eq!(hello.await?, "hello");
    Ok(())
}

async fn the_server_has_a_port() -> TestResult {
    let port = SERVER.clone().with(async |address| Ok(address.port()));
    assert_ne!(port.await?, 0);
    Ok(())
}

/// Names the tests.
macro_rules! tests {
    ($($test:ident),+ $(,)?) => {
        [$((stringify!($test), || Box::pin($test()))),+]
    };
}

type Test = (&'static str, fn() -> BoxFuture<'static, TestResult>);

const TESTS: [Test; 2] = tests![the_server_says_hello, the_server_has_a_port];

async fn run_all() -> usize {
    let running = TESTS.map(|(name, test)| (name, tokio::spawn(test())));
    let mut failed = 0;
    for (name, test) in running {
        // A failing assertion is a panic, which its task catches.
        let passed = matches!(test.await, Ok(Ok(())));
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    failed
}

#[tokio::main]
async fn main() -> ExitCode {
    let failed = detached::drained(run_all()).await;
    let counts = [&STARTED, &STOPPED].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [1, 1], "started once, and stopped at the end");
    let passed = TESTS.len() - failed;
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
