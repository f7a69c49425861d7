//! Where to put a time limit, and what the limit covers.
//!
//! `tokio::time::timeout` treats a context like any future: over its limit, the future is dropped,
//! which is a cancellation. What matters is what the limit is around. There are three nestings, and
//! two limits that belong to the context itself:
//!
//! | the limit is | enter | body | exit |
//! | --- | --- | --- | --- |
//! | `timeout` around everything | goes on in the background | is dropped | goes on in the background |
//! | `timeout` around the body, inside `with` | is not limited | is dropped, and fails | is not limited, the caller waits |
//! | `timeout` around one call in the body | is not limited | goes on without that call | is not limited, the caller waits |
//! | `enter_timeout` | goes on in the background | | |
//! | `exit_timeout` | | | is given up, and the caller gets an error |
//!
//! None of the three cuts off an exit. Only `exit_timeout` does: it is made for a server that may
//! never answer.
//!
//! ```text
//! $ cargo run --example timeouts
//!
//! around everything; the answer does not come
//!       0 ms  opening
//!     100 ms  opened
//!     100 ms  asking
//!     500 ms  the caller goes on: deadline has elapsed
//!     500 ms  closing: Cancelled
//!     700 ms  closed
//!
//! around everything; it is slow to open
//!       0 ms  opening
//!     500 ms  the caller goes on: deadline has elapsed
//!     800 ms  opened
//!     800 ms  closing: Cancelled
//!    1000 ms  closed
//!
//! around everything; it is slow to close
//!       0 ms  opening
//!     100 ms  opened
//!     100 ms  asking
//!     200 ms  answered
//!     200 ms  closing: Completed
//!     500 ms  the caller goes on: deadline has elapsed
//!    1000 ms  closed
//!
//! around the body; the answer does not come
//!       0 ms  opening
//!     100 ms  opened
//!     100 ms  asking
//!     600 ms  closing: Failed(NoAnswer)
//!     800 ms  closed
//!     800 ms  the caller goes on: no answer in time
//!
//! around one call; the answer does not come
//!       0 ms  opening
//!     100 ms  opened
//!     100 ms  asking
//!     600 ms  doing without it
//!     600 ms  closing: Completed
//!     800 ms  closed
//!     800 ms  the caller goes on with a guess
//!
//! enter_timeout; it is slow to open
//!       0 ms  opening
//!     500 ms  the caller goes on: enter was not over after 500ms
//!     800 ms  opened
//!     800 ms  closing: Cancelled
//!    1000 ms  closed
//!
//! exit_timeout; the server never says goodbye
//!       0 ms  opening
//!     100 ms  opened
//!     100 ms  asking
//!     200 ms  answered
//!     200 ms  closing: Completed
//!     700 ms  the caller goes on: exit was not over after 500ms
//! ```
//!
//! What to see in it:
//!
//! - *Around everything*, the caller is free exactly at the limit, but does not learn whether the
//!   work was done. In the third timeline the work was done: the session was about to be closed, as
//!   `Completed`. A session that was being opened at the limit is opened to its end, and then
//!   closed: if it were dropped half-way, it would stay open on the server.
//! - *Around the body*, the caller waits longer, and then knows everything: the exit saw `Failed`,
//!   and has done its work when the caller goes on.
//! - *Around one call*, only that call ends.
//! - Combine them: a short limit around each call, and a long limit around everything as the last
//!   resort.
//! - If something may be left in the background, `main` must end with `detached::drain`.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use async_context_manager::{detached, prelude::*, report};
use clap::Parser;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

/// Puts a time limit around the use of a context, around its body, around one call in it, and on each
/// of its halves, and prints as a timeline what the limit covers.
///
/// It takes no time, and prints the same each time: the clock is a paused one, which jumps to whatever is
/// waited for.
#[derive(Debug, Parser)]
#[command(name = "timeouts", version)]
struct Options {}

/// The length of all limits here.
const LIMIT: Duration = Duration::from_millis(500);

const HOUR: u64 = 3_600_000;

/// The times that a server takes, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Server {
    open: u64,
    answer: u64,
    close: u64,
}

const QUICK: Server = Server {
    open: 100,
    answer: 100,
    close: 200,
};

/// Why there is no answer.
#[derive(Debug, Error)]
enum SessionError {
    #[error("no answer in time")]
    NoAnswer,
}

/// A session with a server, which has to be opened and closed.
#[async_context]
async fn session(server: Server, time: Timeline) -> Result<Session, SessionError> {
    time.note("opening");
    wait(server.open).await;
    time.note("opened");
    let (_session, outcome) = yield_!(Session { server, time });
    time.note(format_args!("closing: {outcome:?}"));
    wait(server.close).await;
    time.note("closed");
    Ok(())
}

struct Session {
    server: Server,
    time: Timeline,
}

impl Session {
    async fn ask(&self) -> Result<&'static str, SessionError> {
        self.time.note("asking");
        wait(self.server.answer).await;
        self.time.note("answered");
        Ok("the answer")
    }
}

/// The first nesting: the limit covers everything.
async fn around_everything(server: Server, time: Timeline) {
    let used = session(server, time).with(async |session| session.ask().await);
    match timeout(LIMIT, used).await {
        Ok(used) => time.goes_on(used),
        Err(elapsed) => time.goes_on(Err(elapsed)),
    }
}

/// The second: the limit covers the body, and the caller waits for the exit.
async fn around_the_body(server: Server, time: Timeline) {
    let used = session(server, time).with(async |session| {
        let body = async { session.ask().await };
        timeout(LIMIT, body)
            .await
            .map_err(|_| SessionError::NoAnswer)?
    });
    time.goes_on(used.await);
}

/// The third: the limit covers one call, and the body goes on without it.
async fn around_one_call(server: Server, time: Timeline) {
    let used = session(server, time).with(async |session| {
        let Ok(answer) = timeout(LIMIT, session.ask()).await else {
            time.note("doing without it");
            return Ok("a guess");
        };
        answer
    });
    time.goes_on(used.await);
}

async fn on_enter(server: Server, time: Timeline) {
    let session = session(server, time).enter_timeout(LIMIT);
    let used = session.with(async |session| Ok(session.ask().await?));
    time.goes_on(used.await);
}

async fn on_exit(server: Server, time: Timeline) {
    let session = session(server, time).exit_timeout(LIMIT);
    let used = session.with(async |session| Ok(session.ask().await?));
    time.goes_on(used.await);
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    Options::parse();
    report::set_hook(|report| println!("            reported: {report}"));
    let slow_to_open = Server { open: 800, ..QUICK };
    let slow_to_answer = Server {
        answer: HOUR,
        ..QUICK
    };
    let slow_to_close = Server {
        close: 800,
        ..QUICK
    };
    let never_closes = Server {
        close: HOUR,
        ..QUICK
    };

    let time = Timeline::begin("around everything; the answer does not come");
    around_everything(slow_to_answer, time).await;
    detached::drain().await;

    let time = Timeline::begin("around everything; it is slow to open");
    around_everything(slow_to_open, time).await;
    detached::drain().await;

    let time = Timeline::begin("around everything; it is slow to close");
    around_everything(slow_to_close, time).await;
    detached::drain().await;

    let time = Timeline::begin("around the body; the answer does not come");
    around_the_body(slow_to_answer, time).await;

    let time = Timeline::begin("around one call; the answer does not come");
    around_one_call(slow_to_answer, time).await;

    let time = Timeline::begin("enter_timeout; it is slow to open");
    on_enter(slow_to_open, time).await;
    detached::drain().await;

    let time = Timeline::begin("exit_timeout; the server never says goodbye");
    on_exit(never_closes, time).await;
}

async fn wait(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
}

/// Prints what happens, and when.
#[derive(Debug, Clone, Copy)]
struct Timeline(Instant);

impl Timeline {
    fn begin(title: &str) -> Self {
        println!("\n{title}");
        Self(Instant::now())
    }

    fn note(self, what: impl fmt::Display) {
        println!("{:>7} ms  {what}", self.0.elapsed().as_millis());
    }

    fn goes_on<E: fmt::Display>(self, with: Result<&str, E>) {
        match with {
            Ok(answer) => self.note(format_args!("the caller goes on with {answer}")),
            Err(error) => self.note(format_args!("the caller goes on: {error}")),
        }
    }
}
