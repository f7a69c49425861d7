//! A program that ends as its argument says, for the tests of `shutdown`.

use std::future::pending;
use std::thread;
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::shutdown::{self, Ended, Times};

#[async_context]
async fn session() -> Result<(), String> {
    let ((), outcome) = yield_!(());
    println!("closed: {outcome:?}");
    Ok(())
}

#[async_context]
async fn stuck() -> Result<(), String> {
    let ((), _) = yield_!(());
    pending::<()>().await;
    Ok(())
}

/// Tells the test that is waiting for it.
fn say(line: &str) {
    println!("{line}");
}

async fn app(how: String) -> Result<(), String> {
    match how.as_str() {
        "ends" => session().with(async |()| Ok(())).await,
        "fails" => {
            session()
                .with(async |()| Err("no database".to_owned()))
                .await
        }
        "panics" => session().with(async |()| panic!("no good")).await,
        "obeys" => {
            let used = session().with(async |()| {
                say("ready");
                shutdown::told().await;
                say("told");
                Ok(())
            });
            used.await
        }
        "deaf" => {
            let used = session().with(async |()| {
                say("ready");
                pending().await
            });
            used.await
        }
        "stuck" => {
            drop(stuck().guard().await);
            say("ready");
            shutdown::told().await;
            Ok(())
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
            loop {
                thread::park();
            }
        }
        other => Err(format!("what is `{other}`?")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Ended<Result<(), String>> {
    let how = std::env::args().nth(1).unwrap_or_default();
    let long = Duration::MAX;
    let times = match how.as_str() {
        "deaf" => Times::new().grace(Duration::ZERO),
        "stuck" => Times::new().drain(Duration::from_millis(50)),
        _ => Times::new().grace(long).drain(long),
    };
    times.run(app(how)).await
}
