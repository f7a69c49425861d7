//! The comparisons, and the aims of this crate.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::process::Command;

use benches::command::{output, sibling};
use benches::{dropped, large, neighbours, nested, ways};

use crate::python::Python;
use crate::rounds::{Entry, Group};
use crate::table::{Cell, Table};
use crate::threads::{Runtimes, Threads};

pub(crate) struct Measured<'a> {
    pub(crate) uses: Group<'a>,
    nested: Group<'a>,
    dropped: Group<'a>,
    drained: Group<'a>,
    large: Group<'a>,
    threads: Vec<Threads>,
    /// The allocations by the name of the way, without the ways that allocate on other threads or
    /// in Python.
    allocations: HashMap<String, Allocations>,
}

/// The allocations of one use.
#[derive(Clone, Copy)]
struct Allocations {
    count: f64,
    bytes: f64,
}

/// How many exits are detached at a time.
const DETACHED: u32 = 100_000;

/// Python's counterpart of a generator.
const IN_PYTHON: &str = "Python: @asynccontextmanager";

impl<'a> Measured<'a> {
    pub(crate) fn all(rounds: usize, python: Option<&'a Python>) -> Result<Self, Box<dyn Error>> {
        let mut uses = Group::new(&[&ways::ALL, &neighbours::ALL]);
        uses.push(Entry::new(neighbours::BLOCKING));
        if let Some(python) = python {
            uses.push(python.entry("Python: inline, by hand", "inline"));
            uses.push(python.entry("Python: a class with __aenter__", "class"));
            uses.push(python.entry(IN_PYTHON, "asynccontextmanager"));
        }
        let mut drained = Group::new(&[]);
        for way in dropped::MANY {
            drained.push(Entry::of(way, DETACHED));
        }
        Ok(Self {
            allocations: allocations()?,
            uses: uses.measure(rounds),
            nested: Group::new(&[&nested::BOXES, &nested::GENERATORS, &nested::STACKS])
                .measure(rounds),
            dropped: Group::new(&[&dropped::ONE]).measure(rounds),
            drained: drained.measure(rounds.div_ceil(60)),
            large: Group::new(&[&large::ALL]).measure(rounds.div_ceil(5)),
            threads: [ways::BOXED, ways::HAND_WRITTEN, ways::GENERATOR]
                .into_iter()
                .flat_map(|way| [(way, Runtimes::OneEach), (way, Runtimes::Shared)])
                .map(|(way, runtimes)| Threads::measure(way, runtimes, rounds.div_ceil(25)))
                .collect::<io::Result<_>>()?,
        })
    }

    pub(crate) fn tables(&self) -> [Table; 4] {
        [self.ways(), self.state(), self.threads(), self.aims()]
    }

    fn allocated(&self, name: &str) -> Option<Allocations> {
        self.allocations.get(name).copied()
    }

    fn ways(&self) -> Table {
        let mut table = Table::new("ways", &["way", "ns", "allocations", "ratio to Box::pin"]);
        let groups = [
            &self.uses,
            &self.nested,
            &self.dropped,
            &self.drained,
            &self.large,
        ];
        for group in groups {
            for entry in group.entries() {
                table.rows.push(vec![
                    entry.name.as_str().into(),
                    Cell::Number(entry.nanos(), 1),
                    Cell::some(self.allocated(&entry.name).map(|of| of.count), 1),
                    Cell::Number(entry.ratio(), 2),
                ]);
            }
        }
        table
    }

    fn state(&self) -> Table {
        let columns = ["state", "bytes in the caller's future", "bytes in boxes"];
        let mut table = Table::new("state", &columns);
        let ways = [
            (ways::INLINE, future_size(ways::inline)),
            (ways::HAND_WRITTEN, future_size(ways::hand_written)),
            (ways::GENERATOR, future_size(ways::generator)),
            (ways::GUARD, future_size(ways::guard)),
            (ways::STACK, future_size(ways::stack)),
        ];
        for (way, future) in ways {
            let boxes = self.allocated(way.name).map(|of| of.bytes);
            table.rows.push(vec![
                way.name.into(),
                Cell::Number(future, 0),
                Cell::some(boxes, 0),
            ]);
        }
        table
    }

    fn threads(&self) -> Table {
        let columns = [
            "two threads against one",
            "processor ns, one",
            "processor ns, two",
            "throughput, by processor",
            "throughput, by the clock",
        ];
        let mut table = Table::new("threads", &columns);
        for threads in &self.threads {
            table.rows.push(vec![
                threads.name.as_str().into(),
                Cell::Number(threads.one, 1),
                Cell::Number(threads.two, 1),
                Cell::Number(threads.by_processor, 2),
                Cell::Number(threads.by_clock, 2),
            ]);
        }
        table
    }

    /// Returns the table of the aims that this crate must meet.
    fn aims(&self) -> Table {
        let mut table = Table::new("aims", &["aim", "measured", "limit", "kept"]);
        let mut at_most = |aim: String, measured: f64, limit: f64| {
            table.aim(aim, measured, "at most", limit, measured <= limit);
        };
        let spawn = self.uses.of(ways::SPAWN);
        for way in [ways::HAND_WRITTEN, ways::GENERATOR] {
            let name = way.name;
            let entry = self.uses.of(way);
            let count = self.allocated(name).map_or(f64::NAN, |of| of.count);
            at_most(format!("{name}, allocations"), count, 1.0);
            at_most(format!("{name} / Box::pin"), entry.ratio(), 2.0);
            at_most(format!("{name} / tokio::spawn"), entry.ratio_to(spawn), 0.4);
        }
        let deep = |way| self.nested.of(way).ratio();
        at_most(
            "a level of 100 nested / a level of 10".into(),
            deep(nested::GENERATORS[2]) / deep(nested::GENERATORS[1]),
            1.5,
        );
        let [spawned, detached] = dropped::MANY.map(|way| self.drained.of(way));
        at_most(
            "a detached exit / a spawn".into(),
            detached.ratio_to(spawned),
            1.5,
        );
        let large = |way| self.large.of(way).ratio();
        at_most(
            "a context of 64 KiB / of 8 bytes, each without its Box::pin".into(),
            (large(large::VALUE) - large(large::BOXED))
                / (self.uses.of(ways::GENERATOR).ratio() - 1.0),
            1.5,
        );
        let mut at_least = |aim: String, measured: f64, limit: f64| {
            table.aim(aim, measured, "at least", limit, measured >= limit);
        };
        for threads in &self.threads {
            let aim = format!("{}, throughput of two threads", threads.name);
            at_least(aim, threads.by_processor, 1.8);
        }
        if let Some(python) = self.uses.find(IN_PYTHON) {
            let generator = self.uses.of(ways::GENERATOR);
            at_least(
                format!("{IN_PYTHON} / generator"),
                python.ratio_to(generator),
                30.0,
            );
        }
        table
    }
}

fn allocations() -> Result<HashMap<String, Allocations>, Box<dyn Error>> {
    let counted = output(&mut Command::new(sibling("allocations")?))?;
    let line = |line: &str| {
        let [name, count, bytes] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("`allocations` has a line `{line}`").into());
        };
        let of = Allocations {
            count: count.parse()?,
            bytes: bytes.parse()?,
        };
        Ok((name.to_owned(), of))
    };
    counted.lines().map(line).collect()
}

/// Returns the bytes by which the caller's own future grows if it awaits this future.
fn future_size<F: Future>(_: fn(u64) -> F) -> f64 {
    f64::from(u32::try_from(size_of::<F>()).unwrap_or(u32::MAX))
}
