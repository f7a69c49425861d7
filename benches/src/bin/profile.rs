#![forbid(unsafe_code)]
//! Does the work in one way only, so many times, for a profiler to look at:
//!
//! ```sh
//! cargo build --release -p benches --bin profile
//! valgrind --tool=callgrind target/release/profile generator 100000
//! ```

use benches::ways;
use clap::Parser;

#[derive(Parser)]
struct Args {
    /// `empty` starts the runtime, and does nothing on it.
    way: String,
    times: u32,
}

fn main() {
    let args = Args::parse();
    let mut all = ways::ALL.iter().chain(&ways::DROPPED);
    match all.find(|way| way.key == args.way) {
        Some(way) => (way.run)(args.times),
        None if args.way == "empty" => (ways::ALL[0].run)(0),
        None => {
            eprintln!("no way is called `{}`; there are:", args.way);
            for way in ways::ALL.iter().chain(&ways::DROPPED) {
                eprintln!("  {:<14} {}", way.key, way.name);
            }
            std::process::exit(2);
        }
    }
}
