//! Counts the instructions of a use of a context, with the list of open contexts off and on.
//!
//! `cargo run --release -p tests --bin listed` prints both counts, which callgrind makes. It needs
//! valgrind.

use std::env;
use std::error::Error;
use std::process::Command;

use async_context_manager::observe;
use async_context_manager::prelude::*;

type AnyError = Box<dyn Error + Send + Sync>;

/// Two numbers of uses. The difference of their counts leaves out the instructions that run only
/// once.
const USES: [u64; 2] = [1_000, 11_000];

#[async_context]
async fn context() -> Result<u64, String> {
    let (_, _) = yield_!(42);
    Ok(())
}

async fn use_it(times: u64) -> Result<(), String> {
    for _ in 0..times {
        context()
            .with(async |value| {
                std::hint::black_box(value);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

fn run(list: &str, times: u64) -> Result<(), AnyError> {
    observe::set_listing(list == "on");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build()?.block_on(use_it(times))?;
    Ok(())
}

/// Counts the instructions of a whole process.
fn instructions(list: &str, times: u64) -> Result<u64, AnyError> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([list, &times.to_string()])
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    let (_, count) = told.split_once("Collected : ").ok_or("it has a count")?;
    let count = count.lines().next().unwrap_or_default();
    Ok(count.trim().parse()?)
}

fn main() -> Result<(), AnyError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [list, times] = &arguments[..] {
        return run(list, times.parse()?);
    }
    for list in ["off", "on"] {
        let few = instructions(list, USES[0])?;
        let many = instructions(list, USES[1])?;
        let one = (many - few) / (USES[1] - USES[0]);
        println!("the list is {list}: {one} instructions a use");
    }
    Ok(())
}
