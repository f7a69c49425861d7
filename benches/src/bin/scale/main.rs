#![forbid(unsafe_code)]
//! Checks that a context costs as much among many as among few, in whatever order the contexts are
//! given up.
//!
//! `cargo run --release -p benches --bin scale` prints a line for each shape of program:
//! nanoseconds for each of 100, 1,000, 10,000 and 100,000 contexts, whose exits wait once; by how
//! much a context gets dearer from 1,000 to the most; the same on a runtime with two workers; the
//! bytes for each that are held when most are; and those that are kept when all is over. Numbers
//! that would take much too long are left out, and count as grown.
//!
//! `--check` fails if the time grows more than twice as much as that of tokio's tasks, which use
//! the same caches and the same allocator, or if memory grows or is kept. The time is the least of
//! several rounds, and contains what it costs to count the allocations.
//!
//! `--instructions` prints the instructions for each of 1,000 and 10,000 contexts instead, which do
//! not depend on caches nor on what else the machine does, and needs valgrind. Here, `--check`
//! fails if they grow by more than a quarter. A program that is known to get dearer is printed with
//! its growth, and does not fail.
//!
//! Programs that do not nest futures run on a stack of 256 KiB, and so do both workers. There, a
//! drop by recursion ends the process.

mod measured;
mod rows;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use crate::measured::{Measured, Workers, instructions, measure, run_once};
use crate::rows::Row;

#[derive(Parser)]
#[command(about = "What a context costs where there are many")]
struct Args {
    /// Fail if a context gets dearer the more contexts there are.
    #[arg(long)]
    check: bool,

    /// Count instructions instead of time and memory.
    #[arg(long)]
    instructions: bool,

    /// Run only the program with this key. An unknown key lists all keys.
    #[arg(long, value_name = "KEY")]
    only: Option<String>,

    /// Run that program only once, with this many contexts, for a profiler.
    #[arg(long, value_name = "COUNT", requires = "only")]
    once: Option<usize>,
}

const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// The index of the size from which growth counts. Smaller sizes show the cost of what is set up
/// once.
const FROM: usize = 1;

/// The factor by which a context may get dearer, in time against tokio's tasks, and in memory.
const LIMIT: f64 = 2.0;

/// The same factor, in instructions. The list of the contexts that were given up takes a step for
/// each digit of its length.
const LIMIT_OF_INSTRUCTIONS: f64 = 1.25;

/// The bytes for each context that may be kept: the additional room in a table.
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
    let are_flat = if args.instructions {
        print_instructions(&rows)?
    } else {
        print_costs(&rows)?
    };
    Ok(ExitCode::from(u8::from(args.check && !are_flat)))
}

/// Returns `true` if the contexts of all programs cost the same, however many they are.
fn print_instructions(rows: &[Row]) -> Result<bool, Box<dyn Error>> {
    println!("contexts\tinstructions, 10^3\t10^4\tgrowth\tflat");
    let mut are_flat = true;
    for row in rows {
        let (first, most) = (instructions(*row, 1_000)?, instructions(*row, 10_000)?);
        let growth = most / first;
        let is_flat = growth <= LIMIT_OF_INSTRUCTIONS;
        are_flat &= is_flat || row.is_known_to_grow;
        let verdict = match (is_flat, row.is_known_to_grow) {
            (true, _) => "yes",
            (false, true) => "no, as is known",
            (false, false) => "NO",
        };
        println!(
            "{}\t{first:.0}\t{most:.0}\t{growth:.2}\t{verdict}",
            row.name
        );
    }
    Ok(are_flat)
}

/// Returns `true` if the contexts of all programs cost the same, however many they are.
fn print_costs(rows: &[Row]) -> Result<bool, Box<dyn Error>> {
    println!(
        "contexts\tns, 10^2\t10^3\t10^4\t10^5\tgrowth\ttwo workers, ns, 10^3\tmost\tgrowth\t\
         bytes held, 10^3\tmost\tbytes kept\tflat"
    );
    let [in_order, at_random] = rows::TOKIO_ALONE.map(|row| measure(row, &SIZES, Workers::This));
    let (in_order, at_random) = (growth(&in_order?), growth(&at_random?));
    let mut are_flat = true;
    for row in rows {
        let tokio_alone = if row.is_random { at_random } else { in_order };
        are_flat &= print(*row, LIMIT * tokio_alone.max(1.0))?;
    }
    Ok(are_flat)
}

/// Measures a program. Returns `true` if its contexts cost the same, however many they are.
fn print(row: Row, limit: f64) -> Result<bool, Box<dyn Error>> {
    let one = measure(row, &SIZES, Workers::This)?;
    // Not more contexts than above, because a program that is not flat takes long here, too.
    let sizes = [SIZES[FROM], SIZES[one.len() - 1]];
    let two = measure(row, &sizes, Workers::Two)?;
    let (first, most) = (one[FROM], one[one.len() - 1]);
    let mut line = String::from(row.name);
    for index in 0..SIZES.len() {
        line += &one.get(index).map_or_else(
            || String::from("\t-"),
            |measured| format!("\t{:.0}", measured.nanos),
        );
    }
    let mut faults = Vec::new();
    if one.len() < SIZES.len() || growth(&one) > limit {
        faults.push("time");
    }
    if most.held > LIMIT * first.held {
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
        growth(&one),
        two[0].nanos,
        two[1].nanos,
        two[1].nanos / two[0].nanos,
        first.held,
        most.held,
        most.kept,
    );
    Ok(faults.is_empty() || row.is_known_to_grow)
}

/// Returns the factor by which the time has grown. If there are only two sizes, it counts from the
/// smallest.
fn growth(all: &[Measured]) -> f64 {
    let from = FROM.min(all.len() - 2);
    all[all.len() - 1].nanos / all[from].nanos
}
