#![forbid(unsafe_code)]
//! What a use of a context costs, against the same small work in other ways.
//!
//! `cargo run --release -p benches --bin compare` prints a line for each: name, nanoseconds, allocations,
//! and the ratio to a bare `Box::pin` of the work, which is the floor for whatever survives a drop.
//! The turns are short and interleaved. The time is their median; the ratio is of the tenth of them that
//! was disturbed the least, so that it holds on a busy machine as well. The time does not.
//!
//! More tables follow: the bytes of state, two threads at the same time, and the aims. `--python` adds
//! the ways that Python has, in turns with ours. What else is on crates.io, which versions, and what is not here
//! and why, is in the documentation of `benches::neighbours`.
//!
//! The allocations are counted by another program, `allocations`: counting them makes them dearer.

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
    /// Of each group of ways; what takes long has fewer.
    #[arg(long, default_value_t = 501)]
    rounds: usize,

    /// Also measure Python's async context managers: needs `python3`.
    #[arg(long)]
    python: bool,

    /// Also write the tables there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Also draw the ratios of the first group there.
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
