//! Measures in many short turns, one after the other, so that other load on the machine hits all
//! ways alike.

use std::time::{Duration, Instant};

use benches::ways;
use benches::work::Way;

/// The ways that are measured together.
pub(crate) struct Group<'a> {
    /// The way that has a turn before each of the others, which are compared with it.
    floor: Entry<'a>,
    entries: Vec<Entry<'a>>,
}

/// A way that is measured.
pub(crate) struct Entry<'a> {
    pub(crate) name: String,
    /// Does this many uses, and returns the nanoseconds of each.
    run: Box<dyn FnMut(u32) -> f64 + 'a>,
    /// The number of uses in a turn.
    uses: u32,
    turns: Vec<Turn>,
}

/// The nanoseconds of a use.
#[derive(Clone, Copy)]
struct Turn {
    time: f64,
    /// The time of the floor, just before.
    floor: f64,
}

/// The approximate time of a turn, which is shorter than a scheduler's time slice.
const TURN: Duration = Duration::from_micros(250);

/// The share of the turns that were disturbed the least, which make the ratios. A disturbance, such
/// as a neighbour on the same core, does not hit all ways alike: it hardly slows an atomic
/// operation, but an allocation takes much longer. Even a busy machine has some undisturbed turns.
const QUIET: f64 = 0.1;

impl<'a> Group<'a> {
    pub(crate) fn new(ways: &[&[Way]]) -> Self {
        let ways = ways.iter().copied().flatten();
        Self {
            floor: Entry::new(ways::BOXED),
            entries: ways.map(|way| Entry::new(*way)).collect(),
        }
    }

    pub(crate) fn push(&mut self, entry: Entry<'a>) {
        self.entries.push(entry);
    }

    pub(crate) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// # Panics
    ///
    /// If the way is not in this group.
    pub(crate) fn of(&self, way: Way) -> &Entry<'a> {
        self.find(way.name)
            .expect("what is compared is measured together")
    }

    pub(crate) fn measure(mut self, rounds: usize) -> Self {
        for _ in 0..rounds {
            for entry in &mut self.entries {
                let floor = (self.floor.run)(self.floor.uses);
                let time = (entry.run)(entry.uses);
                entry.turns.push(Turn { time, floor });
            }
        }
        self
    }
}

impl<'a> Entry<'a> {
    /// Makes an entry with as many uses in a turn as fit.
    pub(crate) fn new(way: Way) -> Self {
        Self::timed(way.name, move |uses| timed(way, uses))
    }

    pub(crate) fn of(way: Way, uses: u32) -> Self {
        Self {
            uses,
            ..Self::new(way)
        }
    }

    /// Makes an entry from a function that measures its own time.
    pub(crate) fn timed(name: &str, mut run: impl FnMut(u32) -> f64 + 'a) -> Self {
        let mut uses = 100; // Of the deepest nest, one.
        // The first run pays for the set-up.
        run(uses);
        while run(uses) * f64::from(uses) < TURN.as_secs_f64() * 5e8 {
            uses *= 2;
        }
        Self {
            name: name.to_owned(),
            run: Box::new(run),
            uses,
            turns: Vec::new(),
        }
    }

    /// Returns the median, in nanoseconds.
    pub(crate) fn nanos(&self) -> f64 {
        median(self.turns.iter().map(|turn| turn.time))
    }

    /// Returns how many times as long as the floor this way takes.
    pub(crate) fn ratio(&self) -> f64 {
        self.quiet() / quantile(self.turns.iter().map(|turn| turn.floor), QUIET)
    }

    /// Returns how many times as long as another way of the group this way takes.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        self.quiet() / other.quiet()
    }

    fn quiet(&self) -> f64 {
        quantile(self.turns.iter().map(|turn| turn.time), QUIET)
    }
}

/// Returns the nanoseconds of a use, by the clock.
fn timed(way: Way, uses: u32) -> f64 {
    let begun = Instant::now();
    way.run(uses);
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(uses)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "it is an index, rounded down"
    )]
    let index = (values.len() as f64 * share) as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}
