#![forbid(unsafe_code)]
//! Measures what `#[async_context]` costs when compiling, against the same contexts written by
//! hand.
//!
//! `cargo run --release -p benches --bin compile_time` writes two crates to a temporary directory.
//! One has functions under the attribute, and the other implements the trait by hand, with the same
//! bodies. Each context is used once. The dependencies are compiled first. Then `cargo check` and
//! `cargo build` of both crates are timed in turns, from scratch (not incremental), and the medians
//! are printed: command, seconds by attribute, seconds by hand, ratio. The ratio includes the time
//! that cargo and rustc need for any crate.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs};

const CONTEXTS: usize = 200;
const ROUNDS: usize = 7;

/// The beginning of both crates.
const COMMON: &str = "
#![allow(dead_code)]
use async_context_manager::prelude::*;
use std::pin::Pin;

type Running = Pin<Box<dyn Future<Output = Result<u64, Failed>> + Send>>;

#[derive(Debug)]
pub struct Failed(u64);

pub struct Conn(u64);

impl Conn {
    async fn open(id: u64) -> Result<Self, Failed> {
        if id == 0 { Err(Failed(id)) } else { Ok(Self(id)) }
    }

    async fn query(&mut self, by: u64) -> Result<u64, Failed> {
        self.0 += by;
        Ok(self.0)
    }

    async fn commit(self) -> Result<(), Failed> {
        if self.0 == 1 { Err(Failed(1)) } else { Ok(()) }
    }

    async fn rollback(self) -> Result<(), Failed> {
        if self.0 == 2 { Err(Failed(2)) } else { Ok(()) }
    }
}
";

const BY_ATTRIBUTE: &str = "
#[async_context]
async fn context_N(id: u64, add: u64) -> Result<Conn, Failed> {
    let mut conn = Conn::open(id + N).await?;
    conn.query(add).await?;
    let (conn, outcome) = yield_!(conn);
    if outcome.is_completed() {
        conn.commit().await
    } else {
        conn.rollback().await
    }
}

pub fn use_N(id: u64) -> Running {
    Box::pin(async move {
        context_N(id, N)
            .with(async |conn| {
                let before = conn.query(id).await?;
                Ok(before + conn.query(N).await?)
            })
            .await
    })
}
";

const BY_HAND: &str = "
struct ContextN {
    id: u64,
    add: u64,
}

impl AsyncContext for ContextN {
    type Value = Conn;
    type Error = Failed;
    type Verdict = ();

    async fn enter(&mut self) -> Result<Conn, Failed> {
        let mut conn = Conn::open(self.id + N).await?;
        conn.query(self.add).await?;
        Ok(conn)
    }

    async fn exit(self, conn: Conn, outcome: &Outcome) -> Result<(), Failed> {
        if outcome.is_completed() {
            conn.commit().await
        } else {
            conn.rollback().await
        }
    }
}

pub fn use_N(id: u64) -> Running {
    Box::pin(async move {
        ContextN { id, add: N }
            .with(async |conn| {
                let before = conn.query(id).await?;
                Ok(before + conn.query(N).await?)
            })
            .await
    })
}
";

const ATTRIBUTE: &str = "by-attribute";
const HAND: &str = "by-hand";

fn main() -> io::Result<()> {
    let scratch = tempfile::tempdir()?;
    write_crates(scratch.path())?;
    println!("{CONTEXTS} contexts\tby attribute\tby hand\tratio");
    for command in ["check", "build"] {
        for name in [ATTRIBUTE, HAND] {
            compile(scratch.path(), command, name)?;
        }
        let (mut attribute, mut hand) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            attribute.push(compile(scratch.path(), command, ATTRIBUTE)?);
            hand.push(compile(scratch.path(), command, HAND)?);
        }
        let (attribute, hand) = (median(attribute), median(hand));
        let ratio = attribute / hand;
        println!("cargo {command}\t{attribute:.3} s\t{hand:.3} s\t{ratio:.2}");
    }
    Ok(())
}

fn write_crates(scratch: &Path) -> io::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest =
        format!("[workspace]\nresolver = \"3\"\nmembers = [\"{ATTRIBUTE}\", \"{HAND}\"]\n");
    fs::write(scratch.join("Cargo.toml"), manifest)?;
    // The dependencies of this program are available without a network.
    fs::copy(workspace.join("Cargo.lock"), scratch.join("Cargo.lock"))?;
    let runtime = workspace.join("runtime").canonicalize()?;
    for (name, template) in [(ATTRIBUTE, BY_ATTRIBUTE), (HAND, BY_HAND)] {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies]\nasync-context-manager = {{ path = '{}' }}\n",
            runtime.display()
        );
        let mut source = COMMON.to_owned();
        for number in 1..=CONTEXTS {
            let context = template.replace('N', &number.to_string());
            write!(source, "{context}").map_err(io::Error::other)?;
        }
        fs::create_dir_all(scratch.join(name).join("src"))?;
        fs::write(scratch.join(name).join("Cargo.toml"), manifest)?;
        fs::write(source_of(scratch, name), source)?;
    }
    Ok(())
}

fn source_of(scratch: &Path, name: &str) -> std::path::PathBuf {
    scratch.join(name).join("src/lib.rs")
}

/// Compiles a crate anew, and its dependencies if they are not compiled yet.
fn compile(scratch: &Path, command: &str, name: &str) -> io::Result<Duration> {
    let source = fs::File::options()
        .append(true)
        .open(source_of(scratch, name))?;
    source.set_modified(SystemTime::now())?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let begun = Instant::now();
    let status = Command::new(cargo)
        .args([command, "--quiet", "--offline", "--package", name])
        .current_dir(scratch)
        .env("CARGO_TARGET_DIR", scratch.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        .status()?;
    let taken = begun.elapsed();
    if status.success() {
        Ok(taken)
    } else {
        Err(io::Error::other(format!(
            "`cargo {command}` of `{name}`: {status}"
        )))
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times
        .get(times.len() / 2)
        .map_or(f64::NAN, Duration::as_secs_f64)
}
