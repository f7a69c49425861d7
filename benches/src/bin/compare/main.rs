#![forbid(unsafe_code)]
//! Measures what a use of a context costs, against the same small work in other ways.
//!
//! `cargo run --release -p benches --bin compare` prints a line for each: name, nanoseconds,
//! allocations, and the ratio to a bare `Box::pin` of the work, which is the floor for every way
//! that survives a drop. The turns are short and interleaved. The time is their median; the ratio
//! is of the tenth of them that was disturbed the least, so that the ratio, unlike the time, also
//! holds on a busy machine.
//!
//! More tables follow: the bytes of state, two threads at the same time, and the aims. `--python`
//! adds the ways that Python has, in turns with ours. The documentation of `benches::neighbours`
//! lists the other crates on crates.io with their versions, and says which are left out and why.
//!
//! The allocations are counted by another program, `allocations`, because the counting makes them
//! dearer.

mod measured;
mod picture;
mod python;
mod rounds;
mod table;
mod threads;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::Parser;

use crate::measured::Measured;
use crate::python::Python;
use crate::table::Table;

#[derive(Parser)]
#[command(about = "What a use of a context costs")]
struct Args {
    /// The number of rounds of each group of ways. Slow groups have fewer.
    #[arg(long, default_value_t = 501)]
    rounds: usize,

    /// Also measure Python's async context managers: needs `python3`.
    #[arg(long)]
    python: bool,

    /// Also write the tables to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Also draw the ratios of the first group to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let python = args.python.then(Python::start).transpose()?;
    let measured = Measured::all(args.rounds, python.as_ref())?;
    let tables = measured.tables();
    for table in &tables {
        println!("{table}");
    }
    if let Some(file) = args.json {
        let tables: Vec<_> = tables.iter().map(Table::json).collect();
        fs::write(file, format!("{{\n{}\n}}\n", tables.join(",\n")))?;
    }
    if let Some(file) = args.svg {
        fs::write(file, picture::draw(&measured.uses))?;
    }
    Ok(())
}
