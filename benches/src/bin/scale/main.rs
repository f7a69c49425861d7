#![forbid(unsafe_code)]
//! What many contexts at a time cost, each: as much as few, in whatever order they are given up.
//!
//! `cargo run --release -p benches --bin scale` prints a line for each shape of program: nanoseconds for
//! each of 100, 1,000, 10,000 and 100,000 contexts, whose exits wait once; by how much a context gets
//! dearer from 1,000 to the most; the same on a runtime with two workers; the bytes for each that are
//! held when most are; and those that are kept when all is over. `--check` fails where one of them
//! grows by more than a limit. What would take much too long is left out: it has grown by then.
//!
//! The time is the least of several rounds. It contains what it costs to count the allocations, and that
//! the memory of many contexts is in no cache: the line of spawned tasks tells how much that is.
//!
//! Programs that don't nest futures run on a stack of 256 KiB, and so do both workers: a drop by
//! recursion ends the process.

mod measured;
mod rows;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use crate::measured::{Measured, Workers, measure, run_once};
use crate::rows::Row;

#[derive(Parser)]
#[command(about = "What many contexts at a time cost, each")]
struct Args {
    /// Fail where a context gets dearer the more there are.
    #[arg(long)]
    check: bool,

    /// Only the program with this key. One that does not exist lists all.
    #[arg(long, value_name = "KEY")]
    only: Option<String>,

    /// Run that one only once, with so many, for a profiler to look at.
    #[arg(long, value_name = "COUNT", requires = "only")]
    once: Option<usize>,
}

const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// Where growth begins to count: what is less has what is set up once in it.
const FROM: usize = 1;

/// How much dearer a context may get.
const LIMIT: f64 = 2.0;

/// In bytes a context: less is what a table has more room for.
const KEPT: f64 = 1.0;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    let is_meant = |row: &&Row| args.only.as_ref().is_none_or(|key| key == row.key);
    let rows: Vec<_> = rows::ALL.iter().filter(is_meant).copied().collect();
    if rows.is_empty() {
        eprintln!("no program has this key; there are:");
        for row in rows::ALL {
            eprintln!("  {:<16} {}", row.key, row.name);
        }
        return Ok(ExitCode::from(2));
    }
    if let Some(n) = args.once {
        for row in rows {
            run_once(row, n)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "contexts\tns, 10^2\t10^3\t10^4\t10^5\tgrowth\ttwo workers, ns, 10^3\tmost\tgrowth\t\
         bytes held, 10^3\tmost\tbytes kept\tflat"
    );
    let mut are_flat = true;
    for row in rows {
        are_flat &= print(row)?;
    }
    Ok(ExitCode::from(u8::from(args.check && !are_flat)))
}

/// Measures a program, and says whether its contexts cost the same however many they are.
fn print(row: Row) -> Result<bool, Box<dyn Error>> {
    let one = measure(row, &SIZES, Workers::This)?;
    // As many at most, because what is not flat takes long there as well.
    let sizes = [SIZES[FROM], SIZES[one.len() - 1]];
    let two = measure(row, &sizes, Workers::Two)?;
    let (first, most) = (one[FROM], one[one.len() - 1]);
    let growth = |first: Measured, most: Measured| most.nanos / first.nanos;
    let mut line = String::from(row.name);
    for index in 0..SIZES.len() {
        line += &one.get(index).map_or_else(
            || String::from("\t-"),
            |measured| format!("\t{:.0}", measured.nanos),
        );
    }
    let grows = [growth(first, most), growth(two[0], two[1])];
    let held = most.held / first.held;
    let mut faults = Vec::new();
    if one.len() < SIZES.len() || grows[0] > LIMIT {
        faults.push("time");
    }
    if held > LIMIT {
        faults.push("memory held");
    }
    if one.iter().any(|measured| measured.kept > KEPT) {
        faults.push("memory kept");
    }
    let verdict = match &faults[..] {
        [] => String::from("yes"),
        faults => format!("NO: {}", faults.join(", ")),
    };
    println!(
        "{line}\t{:.1}\t{:.0}\t{:.0}\t{:.1}\t{:.0}\t{:.0}\t{:.1}\t{verdict}",
        grows[0], two[0].nanos, two[1].nanos, grows[1], first.held, most.held, most.kept,
    );
    Ok(faults.is_empty())
}
