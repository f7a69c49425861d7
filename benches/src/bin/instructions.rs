#![forbid(unsafe_code)]
//! Compares the instructions of a use, as callgrind counts them, with the numbers that are checked
//! in.
//!
//! `cargo run --release -p benches --bin instructions` fails if one of our ways takes over 3 % more
//! than `benches/instructions.txt` says; `-- --bless` writes that file anew. Unlike a time, the
//! count does not depend on the load of the machine. But it depends on the compiler: the numbers
//! hold for the compiler that the file names, and with another compiler this program fails and says
//! so. It depends a little on the system's allocator and `memcpy` too.
//!
//! This program needs only valgrind. gungraun's runner, which does this and more, would be 175
//! crates to compile wherever this runs, and keeps its numbers outside the repository.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use benches::command::{output, sibling};
use benches::work::Way;
use benches::{large, nested, streams, ways};
use clap::Parser;

#[derive(Parser)]
#[command(about = "How many instructions a use takes, against the numbers that are checked in")]
struct Args {
    /// Check the numbers of this run in.
    #[arg(long)]
    bless: bool,
}

const WAYS: [Way; 9] = [
    ways::BOXED,
    ways::HAND_WRITTEN,
    ways::GENERATOR,
    ways::GUARD,
    ways::STACK,
    nested::GENERATORS[1],
    large::VALUE,
    streams::ASYNC_STREAM,
    streams::STREAM,
];

/// The ways of others, for comparison. They have no limit: their code changes only with the
/// compiler's choices, which depend on the directory of the build.
const OTHERS: [&str; 2] = [ways::BOXED.key, streams::ASYNC_STREAM.key];

const LIMITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// The increase that is allowed, in percent.
const TOLERANCE: u64 = 3;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    let compiler = output(Command::new("rustc").arg("--version"))?;
    let compiler = compiler.trim();
    let limits = fs::read_to_string(LIMITS).unwrap_or_default();
    let mut limits = limits.lines();
    let measured_with = limits.next().unwrap_or_default();
    if !args.bless && measured_with != compiler {
        return Err(format!(
            "the numbers were measured with {measured_with}, and this is {compiler}: \
             choose the toolchain by `cargo +<version>`, or `--bless` before your change"
        )
        .into());
    }

    let profile = sibling("profile")?;
    let mut blessed = format!("{compiler}\n");
    let mut is_worse = false;
    println!("way\tinstructions\tlimit");
    for way in WAYS {
        // The difference is the uses alone, without the start and the end of the program.
        let uses = count(&profile, way, 1_100)? - count(&profile, way, 100)?;
        let each = uses / 1_000;
        let _ = writeln!(blessed, "{}\t{each}", way.key);
        let known = limits.next().and_then(|line| line.split_once('\t'));
        match known {
            _ if args.bless => println!("{}\t{each}\t-", way.name),
            Some((key, _)) if key == way.key && OTHERS.contains(&key) => {
                println!("{}\t{each}\t-", way.name);
            }
            Some((key, known)) if key == way.key => {
                let limit = known.parse::<u64>()? * (100 + TOLERANCE) / 100;
                let verdict = if each > limit { "\tWORSE" } else { "" };
                is_worse |= each > limit;
                println!("{}\t{each}\t{limit}{verdict}", way.name);
            }
            _ => {
                return Err(
                    format!("{LIMITS} has other ways than this program: --bless it").into(),
                );
            }
        }
    }
    if args.bless {
        fs::write(LIMITS, blessed)?;
    }
    Ok(ExitCode::from(u8::from(is_worse)))
}

/// Returns the instructions of the whole program.
fn count(profile: &Path, way: Way, uses: u32) -> Result<u64, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()));
    output(valgrind.arg(profile).arg(way.key).arg(uses.to_string()))?;
    let counted = fs::read_to_string(file)?;
    let totals = counted
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    Ok(totals.ok_or("callgrind wrote no totals")?.trim().parse()?)
}
