#![forbid(unsafe_code)]
//! Measures how much contexts add to a program that runs on tokio anyway.
//!
//! `cargo run --release -p benches --bin size` builds release programs in a temporary directory:
//! with no context, with the first context, and with many different contexts, which are generators
//! or written by hand. Each is compared with the same work in a plain function. It prints the bytes
//! of machine code (`.text`) that a context adds, and needs `size`, of binutils.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use benches::command::output;

/// The number of contexts in a program with many different contexts.
const MANY: u32 = 50;

/// The beginning of all programs. The open function can fail, and waits.
const COMMON: &str = "
#![allow(dead_code, unused_imports)]
use async_context_manager::prelude::*;
use std::hint::black_box;

#[derive(Debug)]
struct Failed;

async fn open(number: u64) -> Result<Vec<u64>, Failed> {
    tokio::task::yield_now().await;
    if black_box(number) > 1_000 { Err(Failed) } else { Ok(vec![number]) }
}

async fn close(value: Vec<u64>) -> Result<(), Failed> {
    tokio::task::yield_now().await;
    if black_box(value).is_empty() { Err(Failed) } else { Ok(()) }
}

async fn work(value: &mut Vec<u64>) -> Result<u64, Failed> {
    tokio::task::yield_now().await;
    value.push(black_box(1));
    Ok(value.len() as u64)
}
";

/// The source of one piece of work. `N` in its names stands for its number.
type Source = &'static str;

const INLINE: Source = "
async fn use_N() -> Result<u64, Failed> {
    let mut value = open(N).await?;
    let result = work(&mut value).await;
    close(value).await?;
    Ok(result? + N)
}
";

const GENERATOR: Source = "
#[async_context]
async fn context_N() -> Result<Vec<u64>, Failed> {
    let value = open(N).await?;
    let (value, _) = yield_!(value);
    close(value).await
}

async fn use_N() -> Result<u64, Failed> {
    context_N().with(async |value| Ok(work(value).await? + N)).await
}
";

const BY_HAND: Source = "
struct ContextN;

impl AsyncContext for ContextN {
    type Value = Vec<u64>;
    type Error = Failed;
    type Verdict = ();

    async fn enter(&mut self) -> Result<Vec<u64>, Failed> {
        open(N).await
    }

    async fn exit(self, value: Vec<u64>, _: &Outcome) -> Result<(), Failed> {
        close(value).await
    }
}

async fn use_N() -> Result<u64, Failed> {
    ContextN.with(async |value| Ok(work(value).await? + N)).await
}
";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = workspace.ok_or("this package is in a workspace")?;
    fs::copy(
        workspace.join("Cargo.lock"),
        directory.path().join("Cargo.lock"),
    )?;
    let manifest = format!(
        "[package]\nname = \"sized\"\nedition = \"2024\"\n\n[dependencies]\n\
         async-context-manager = {{ path = \"{}\" }}\n\
         tokio = {{ version = \"1\", features = [\"rt-multi-thread\", \"time\", \"net\"] }}\n\n[workspace]\n",
        workspace.join("runtime").display(),
    );
    fs::write(directory.path().join("Cargo.toml"), manifest)?;

    let build = |source: Source, count: u32| text(directory.path(), source, count);
    println!("contexts\tbytes of .text, inline\twith contexts\tadded, each");
    for (name, source) in [("generator", GENERATOR), ("hand-written context", BY_HAND)] {
        let (inline, first) = (build(INLINE, 1)?, build(source, 1)?);
        println!("{name}, the first\t{inline}\t{first}\t{}", first - inline);
        let (plain, many) = (build(INLINE, MANY)?, build(source, MANY)?);
        let each = ((many - plain) - (first - inline)) / i64::from(MANY - 1);
        println!("{name}, each of {MANY}\t{plain}\t{many}\t{each}");
    }
    Ok(())
}

/// Returns the bytes of machine code of a program with this many uses.
fn text(directory: &Path, source: Source, count: u32) -> Result<i64, Box<dyn Error>> {
    let mut program = String::from(COMMON);
    let mut uses = String::new();
    for number in 0..count {
        program += &source.replace('N', &number.to_string());
        let _ = writeln!(
            uses,
            "        sum += use_{number}().await.unwrap_or_default();"
        );
    }
    let _ = write!(
        program,
        "
fn main() {{
    let runtime = tokio::runtime::Runtime::new();
    // Boxed, because `block_on` compiles its future three times.
    let all: std::pin::Pin<Box<dyn Future<Output = u64>>> = Box::pin(async {{
        let mut sum = 0;
{uses}
        sum
    }});
    let sum = runtime.expect(\"the system has a runtime for us\").block_on(all);
    println!(\"{{sum}}\");
}}
"
    );
    fs::create_dir_all(directory.join("src"))?;
    fs::write(directory.join("src/main.rs"), program)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = directory.join("target");
    let build = ["build", "--release", "--quiet"];
    let mut cargo = Command::new(cargo);
    output(
        cargo
            .args(build)
            .current_dir(directory)
            .env("CARGO_TARGET_DIR", &target),
    )?;
    let sections = output(
        Command::new("size")
            .arg("-A")
            .arg(target.join("release/sized")),
    )?;
    let text = sections.lines().find_map(|line| line.strip_prefix(".text"));
    let size = text.and_then(|line| line.split_whitespace().next());
    Ok(size.ok_or("`size` tells of no .text")?.parse()?)
}
