#![forbid(unsafe_code)]
//! The ways of `compare`, with the statistics and the plots of Criterion, for people.
//!
//! `cargo bench -p benches --bench uses` leaves them in `target/criterion/report/index.html`. One way after the other
//! is measured here, so what else the machine does hits them differently: ratios are a matter of `compare`.

use std::time::Instant;

use benches::work::Way;
use benches::{dropped, large, neighbours, nested, ways};
use criterion::{Criterion, criterion_group, criterion_main};

criterion_group!(uses, all);
criterion_main!(uses);

fn all(criterion: &mut Criterion) {
    group(criterion, "use", &ways::ALL);
    group(criterion, "neighbour", &neighbours::ALL);
    group(criterion, "nested", &nested::GENERATORS);
    group(criterion, "stack", &nested::STACKS);
    group(criterion, "dropped", &dropped::ONE);
    group(criterion, "large", &large::ALL);
}

fn group(criterion: &mut Criterion, name: &str, ways: &[Way]) {
    let mut group = criterion.benchmark_group(name);
    for way in ways {
        // The deepest nest has a hundred uses in one.
        group.bench_function(way.key, |bencher| {
            bencher.iter_custom(|uses| {
                let hundreds = u32::try_from(uses.div_ceil(100)).unwrap_or(u32::MAX / 100);
                let begun = Instant::now();
                way.run(hundreds * 100);
                let share = f64::from(hundreds) * 100.0;
                #[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
                begun.elapsed().mul_f64(uses as f64 / share)
            });
        });
    }
    group.finish();
}
