//! A program that ends as its argument says, for the tests of `shutdown`.

use std::future::pending;
use std::thread;
use std::time::Duration;

use async_context_manager::contexts::defer;
use async_context_manager::shutdown::{self, Ended, Times};
use async_context_manager::{prelude::*, report};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

#[async_context]
async fn session() -> Result<(), String> {
    let ((), outcome) = yield_!(());
    println!("closed: {outcome:?}");
    Ok(())
}

/// A context whose exit takes a while.
#[async_context]
async fn slow() -> Result<(), String> {
    let ((), outcome) = yield_!(());
    sleep(Duration::from_millis(50)).await;
    println!("closed: {outcome:?}");
    Ok(())
}

#[async_context]
async fn stuck() -> Result<(), String> {
    let ((), _) = yield_!(());
    pending::<()>().await;
    Ok(())
}

/// Writes a line for the test that waits for it.
fn say(line: &str) {
    println!("{line}");
}

fn no_database() -> Result<(), String> {
    Err("no database".to_owned())
}

/// Leaves an exit that never ends in the background.
async fn is_stuck() {
    drop(stuck().guard().await);
}

/// Runs an app that ends without a signal.
async fn by_itself(how: &str) -> Result<(), String> {
    match how {
        "ends" => session().with(async |()| Ok(())).await,
        "fails" => session().with(async |()| no_database()).await,
        "fails, and is stuck" => {
            is_stuck().await;
            no_database()
        }
        "leaves" => {
            drop(slow().guard().await);
            Ok(())
        }
        "leaves, and is stuck" => {
            is_stuck().await;
            Ok(())
        }
        "outlasts its runtime" => {
            spawn_blocking(hang);
            Ok(())
        }
        "panics" => session().with(async |()| panic!("no good")).await,
        "panics, and is stuck" => {
            is_stuck().await;
            panic!("no good")
        }
        "tells itself" => {
            shutdown::tell();
            let told = session().with(async |()| {
                shutdown::told().await;
                Ok(())
            });
            told.await
        }
        other => Err(format!("what is `{other}`?")),
    }
}

/// Runs an app that goes on until a signal comes.
async fn at_a_signal(how: &str) -> Result<(), String> {
    match how {
        "obeys" => {
            let used = session().with(async |()| {
                say("ready");
                shutdown::told().await;
                say("told");
                Ok(())
            });
            used.await
        }
        "obeys, and fails" => {
            say("ready");
            shutdown::told().await;
            Err("no time".to_owned())
        }
        "deaf" => session().with(async |()| deaf().await).await,
        "deaf, and slow" => slow().with(async |()| deaf().await).await,
        "deaf, and stuck" => stuck().with(async |()| deaf().await).await,
        "drains for ever" => {
            is_stuck().await;
            say("ready");
            shutdown::told().await;
            say("told");
            Ok(())
        }
        "stuck" => {
            is_stuck().await;
            say("ready");
            shutdown::told().await;
            Ok(())
        }
        "hangs, and its hook hangs" => {
            report::set_hook(|_| hang());
            is_stuck().await;
            say("ready");
            shutdown::told().await;
            say("told");
            pending().await
        }
        "hangs in the thread of the crate" => {
            // The exit of a context that was entered outside tokio.
            let opened = thread::spawn(|| {
                let blocks = defer(async |_: &Outcome| -> Result<(), String> { hang() });
                drop(futures::executor::block_on(blocks.guard()));
            });
            opened.join().expect("it does not panic");
            say("ready");
            shutdown::told().await;
            say("told");
            pending().await
        }
        "hangs" => {
            say("ready");
            shutdown::told().await;
            say("told");
            pending().await
        }
        "blocks" => {
            thread::spawn(|| {
                let told = shutdown::told();
                while !told.is_told() {
                    thread::yield_now();
                }
                say("told");
            });
            say("ready");
            hang()
        }
        other => by_itself(other).await,
    }
}

async fn deaf() -> Result<(), String> {
    say("ready");
    pending().await
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Ended<Result<(), String>> {
    let how = std::env::args().nth(1).unwrap_or_default();
    let (short, long) = (Duration::from_millis(50), Duration::MAX);
    let times = match how.as_str() {
        "deaf" | "deaf, and slow" => Times::new().grace(Duration::ZERO),
        "deaf, and stuck" => Times::new().grace(Duration::ZERO).drain(short),
        how if how.ends_with("stuck") => Times::new().drain(short),
        _ => Times::new().grace(long).drain(long),
    };
    let ended = times.run(at_a_signal(&how)).await;
    if how == "outlasts its runtime" {
        say("ended");
    }
    ended
}
