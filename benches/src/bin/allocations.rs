#![forbid(unsafe_code)]
//! Counts the allocations of a use and their bytes, and prints a line for each way, for `compare`.
//!
//! This is a program of its own, because its counting allocator makes an allocation almost twice as
//! dear. In times with that allocator, the floor would be too high, and all ratios to the floor too
//! low.

use benches::work::Way;
use benches::{dropped, large, neighbours, nested, streams, ways};

const WAYS: [&[Way]; 9] = [
    &ways::ALL,
    &neighbours::ALL,
    &nested::BOXES,
    &nested::GENERATORS,
    &nested::STACKS,
    &dropped::ONE,
    &dropped::MANY,
    &large::ALL,
    &streams::ALL,
];

fn main() {
    for way in WAYS.into_iter().flatten() {
        // Only later uses are counted, because the first also pays for the set-up.
        way.run(100);
        let ([count, bytes], [more, more_bytes]) = (allocated(*way, 100), allocated(*way, 1_100));
        let each = |few: f64, many: f64| (many - few) / 1_000.0;
        let (count, bytes) = (each(count, more), each(bytes, more_bytes));
        println!("{}\t{count}\t{bytes}", way.name);
    }
}

#[expect(clippy::cast_precision_loss, reason = "they are far fewer than 2^52")]
fn allocated(way: Way, uses: u32) -> [f64; 2] {
    let counted = allocation_counter::measure(|| way.run(uses));
    [counted.count_total as f64, counted.bytes_total as f64]
}
