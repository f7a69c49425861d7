#![forbid(unsafe_code)]
//! Does the work many times in one way, for a profiler:
//!
//! ```sh
//! cargo build --release -p benches --bin profile
//! valgrind --tool=callgrind target/release/profile generator 100000
//! ```

use benches::work::Way;
use benches::{dropped, large, neighbours, nested, streams, ways};
use clap::Parser;

#[derive(Parser)]
struct Args {
    /// The key of the way. An unknown key lists all keys.
    way: String,
    /// The number of uses. With 0, the runtime only starts and ends.
    uses: u32,
}

const WAYS: [&[Way]; 9] = [
    &ways::ALL,
    &nested::BOXES,
    &nested::GENERATORS,
    &nested::STACKS,
    &dropped::ONE,
    &dropped::MANY,
    &large::ALL,
    &streams::ALL,
    &neighbours::ALL,
];

fn main() {
    let args = Args::parse();
    let mut all = WAYS.into_iter().flatten();
    if let Some(way) = all.find(|way| way.key == args.way) {
        way.run(args.uses);
    } else {
        eprintln!("no way is called `{}`; there are:", args.way);
        for way in WAYS.into_iter().flatten() {
            eprintln!("  {:<16} {}", way.key, way.name);
        }
        std::process::exit(2);
    }
}
