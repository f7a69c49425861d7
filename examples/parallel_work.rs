//! One context used in several places at once, several contexts entered at once, and what happens
//! to both when something fails.
//!
//! *One resource, several users.* The body gets `&mut Value`. As `&*value` it is shared, and its
//! methods that take `&self` can be called from all the futures of a `join!`, `try_join!` or
//! `FuturesUnordered`. These futures are parts of the body: the body ends, and the exit begins,
//! when all of them have ended or been dropped. (For tasks, which outlive the statement that spawns
//! them but not the block, there is `tasks()`.)
//!
//! *Several resources.* `join_all` makes one context of many, which enter and exit at the same time
//! instead of one after the other, or at most `n` of them with `limit(n)`. `join` does the same for
//! a few contexts of different types. They take as long as the slowest.
//!
//! ```text
//! $ cargo run --example parallel_work
//!
//! one connection, three files at once
//!       0 ms  oslo: opening
//!     100 ms  oslo: opened
//!     100 ms  oslo: fetching a.txt
//!     100 ms  oslo: fetching b.txt
//!     100 ms  oslo: fetching c.txt
//!     200 ms  oslo: has sent b.txt
//!     300 ms  oslo: has sent c.txt
//!     400 ms  oslo: has sent a.txt
//!     400 ms  oslo: closing, Completed
//!     500 ms  oslo: closed
//!     500 ms  the caller has a.txt, b.txt, c.txt
//!
//! one of the files is not there; the others are fetched
//!       0 ms  oslo: opening
//!     100 ms  oslo: opened
//!     100 ms  oslo: fetching a.txt
//!     100 ms  oslo: fetching ghost.txt
//!     100 ms  oslo: fetching c.txt
//!     300 ms  oslo: has sent c.txt
//!     400 ms  oslo: has sent a.txt
//!     400 ms  oslo: closing, Failed(NoFile("ghost.txt"))
//!     500 ms  oslo: closed
//!     500 ms  the caller has an error: there is no ghost.txt
//!
//! one of the files is not there; the others are given up
//!       0 ms  oslo: opening
//!     100 ms  oslo: opened
//!     100 ms  oslo: fetching a.txt
//!     100 ms  oslo: fetching ghost.txt
//!     100 ms  oslo: fetching c.txt
//!     200 ms  oslo: closing, Failed(NoFile("ghost.txt"))
//!     300 ms  oslo: closed
//!     300 ms  the caller has an error: there is no ghost.txt
//!
//! three connections at once
//!       0 ms  oslo: opening
//!       0 ms  rome: opening
//!       0 ms  lima: opening
//!     100 ms  oslo: opened
//!     200 ms  rome: opened
//!     300 ms  lima: opened
//!     300 ms  oslo: fetching a.txt
//!     300 ms  rome: fetching b.txt
//!     300 ms  lima: fetching c.txt
//!     400 ms  rome: has sent b.txt
//!     500 ms  oslo: has sent a.txt
//!     600 ms  lima: has sent c.txt
//!     600 ms  oslo: closing, Completed
//!     600 ms  rome: closing, Completed
//!     600 ms  lima: closing, Completed
//!     700 ms  oslo: closed
//!     700 ms  rome: closed
//!     700 ms  lima: closed
//!     700 ms  the caller has a.txt, b.txt, c.txt
//!
//! one of the servers is down
//!       0 ms  oslo: opening
//!       0 ms  rome: opening
//!       0 ms  lima: opening
//!     100 ms  oslo: opened
//!     200 ms  rome: is down
//!     300 ms  lima: opened
//!     300 ms  oslo: closing, Failed(Down("rome"))
//!     300 ms  lima: closing, Failed(Down("rome"))
//!     400 ms  oslo: closed
//!     400 ms  lima: closed
//!     400 ms  the caller has an error: rome is down
//!
//! two of the servers do not say goodbye
//!       0 ms  oslo: opening
//!       0 ms  rome: opening
//!       0 ms  lima: opening
//!     100 ms  oslo: opened
//!     200 ms  rome: opened
//!     300 ms  lima: opened
//!     300 ms  oslo: fetching a.txt
//!     300 ms  rome: fetching b.txt
//!     300 ms  lima: fetching c.txt
//!     400 ms  rome: has sent b.txt
//!     500 ms  oslo: has sent a.txt
//!     600 ms  lima: has sent c.txt
//!     600 ms  oslo: closing, Completed
//!     600 ms  rome: closing, Completed
//!     600 ms  lima: closing, Completed
//!     700 ms  rome: closed
//!             reported: async context `parallel_work::mirror`: exit failed: Rude("lima")
//!     700 ms  the caller has an error: oslo did not say goodbye
//!
//! the caller goes away before all are open
//!       0 ms  oslo: opening
//!       0 ms  rome: opening
//!       0 ms  lima: opening
//!     100 ms  oslo: opened
//!     200 ms  rome: opened
//!     250 ms  the caller has nothing, and does not wait
//!     250 ms  oslo: closing, Cancelled
//!     250 ms  rome: closing, Cancelled
//!     300 ms  lima: opened
//!     300 ms  lima: closing, Cancelled
//!     350 ms  oslo: closed
//!     350 ms  rome: closed
//!     400 ms  lima: closed
//! ```
//!
//! What to see in it:
//!
//! - After `join!`, all files are there or have failed. With `try_join!`, the first error drops the
//!   others in the middle of their work. The exit sees that error in both cases.
//! - If a server is down, nothing stays open: what was still opening is opened to its end, and all
//!   that is open is closed, as `Failed`, with the error of the server that is down. There is no
//!   body.
//! - If two exits fail, one error is returned, and the other is reported. No error is lost.
//! - A caller that goes away waits for nothing, and the exits run in the background, even that of
//!   the server that was still opening.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use async_context_manager::{contexts::join_all, detached, prelude::*, report};
use clap::Parser;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tokio::{join, try_join};

/// Uses one context in several places at once, and enters several contexts at once, and prints as
/// timelines what happens, also where one of them fails.
///
/// It takes no time, and prints the same each time: the clock is a paused one, which jumps to
/// whatever is waited for.
#[derive(Debug, Parser)]
#[command(name = "parallel_work", version)]
struct Options {}

/// What goes wrong with a mirror.
#[derive(Debug, Error)]
enum MirrorError {
    #[error("{0} is down")]
    Down(&'static str),
    #[error("there is no {0}")]
    NoFile(&'static str),
    #[error("{0} did not say goodbye")]
    Rude(&'static str),
}

/// A server with files.
#[derive(Debug, Clone, Copy)]
struct Server {
    name: &'static str,
    /// How many milliseconds it takes to open a connection.
    to_open: u64,
    is_down: bool,
    is_rude: bool,
}

const fn server(name: &'static str, to_open: u64) -> Server {
    Server {
        name,
        to_open,
        is_down: false,
        is_rude: false,
    }
}

const OSLO: Server = server("oslo", 100);
const ROME: Server = server("rome", 200);
const LIMA: Server = server("lima", 300);

#[async_context]
async fn mirror(server: Server, time: Timeline) -> Result<Mirror, MirrorError> {
    let name = server.name;
    time.note(format_args!("{name}: opening"));
    wait(server.to_open).await;
    if server.is_down {
        time.note(format_args!("{name}: is down"));
        return Err(MirrorError::Down(name));
    }
    time.note(format_args!("{name}: opened"));
    let (_, outcome) = yield_!(Mirror { name, time });
    time.note(format_args!("{name}: closing, {outcome:?}"));
    wait(100).await;
    if server.is_rude {
        return Err(MirrorError::Rude(name));
    }
    time.note(format_args!("{name}: closed"));
    Ok(())
}

struct Mirror {
    name: &'static str,
    time: Timeline,
}

impl Mirror {
    /// Takes `&self`, so it can be called again while it runs.
    async fn fetch(&self, file: &'static str, takes: u64) -> Result<&'static str, MirrorError> {
        let Self { name, time } = self;
        time.note(format_args!("{name}: fetching {file}"));
        wait(takes).await;
        if file == "ghost.txt" {
            return Err(MirrorError::NoFile(file));
        }
        time.note(format_args!("{name}: has sent {file}"));
        Ok(file)
    }
}

/// Several fetches at once on one connection, all of them to their end.
async fn one_resource(time: Timeline, second: &'static str) -> Result<String, MirrorError> {
    let used = mirror(OSLO, time).with(async |mirror| {
        let mirror = &*mirror;
        let (a, b, c) = join!(
            mirror.fetch("a.txt", 300),
            mirror.fetch(second, 100),
            mirror.fetch("c.txt", 200),
        );
        Ok([a?, b?, c?].join(", "))
    });
    used.await
}

/// The same, but the first error ends the others.
async fn one_resource_or_none(time: Timeline) -> Result<String, MirrorError> {
    let used = mirror(OSLO, time).with(async |mirror| {
        let mirror = &*mirror;
        let (a, b, c) = try_join!(
            mirror.fetch("a.txt", 300),
            mirror.fetch("ghost.txt", 100),
            mirror.fetch("c.txt", 200),
        )?;
        Ok([a, b, c].join(", "))
    });
    used.await
}

async fn several_resources(time: Timeline, servers: [Server; 3]) -> Result<String, MirrorError> {
    let mirrors = join_all(servers.map(|server| mirror(server, time)));
    let used = mirrors.with(async |mirrors| {
        let [oslo, rome, lima] = &mirrors[..] else {
            unreachable!("there are as many as were opened");
        };
        let (a, b, c) = try_join!(
            oslo.fetch("a.txt", 200),
            rome.fetch("b.txt", 100),
            lima.fetch("c.txt", 300),
        )?;
        Ok([a, b, c].join(", "))
    });
    used.await
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    Options::parse();
    report::set_hook(|report| println!("            reported: {report}"));

    let time = Timeline::begin("one connection, three files at once");
    time.end(one_resource(time, "b.txt").await);

    let time = Timeline::begin("one of the files is not there; the others are fetched");
    time.end(one_resource(time, "ghost.txt").await);

    let time = Timeline::begin("one of the files is not there; the others are given up");
    time.end(one_resource_or_none(time).await);

    let time = Timeline::begin("three connections at once");
    time.end(several_resources(time, [OSLO, ROME, LIMA]).await);

    let time = Timeline::begin("one of the servers is down");
    let down = Server {
        is_down: true,
        ..ROME
    };
    time.end(several_resources(time, [OSLO, down, LIMA]).await);

    let time = Timeline::begin("two of the servers do not say goodbye");
    let rude = |server| Server {
        is_rude: true,
        ..server
    };
    time.end(several_resources(time, [rude(OSLO), ROME, rude(LIMA)]).await);

    let time = Timeline::begin("the caller goes away before all are open");
    let used = several_resources(time, [OSLO, ROME, LIMA]);
    let gone = timeout(Duration::from_millis(250), used).await;
    time.end(gone.unwrap_or_else(|_| Ok("nothing, and does not wait".into())));
    detached::drain().await;
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

    fn end(self, used: Result<String, MirrorError>) {
        match used {
            Ok(files) => self.note(format_args!("the caller has {files}")),
            Err(error) => self.note(format_args!("the caller has an error: {error}")),
        }
    }
}
