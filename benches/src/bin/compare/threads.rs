//! Measures the same work on one thread, and on two at the same time, to see whether the two hinder
//! each other.
//!
//! On a busy machine, two threads do not get two cores, so their work in a second says nothing.
//! Instead, the time that a use takes *on a processor* counts. It grows when threads write to the
//! same cache line, and not when they wait for a core. Nor does it grow if one thread waits while
//! the other runs, so on a loaded machine the result may be too good.

use std::fs;
use std::io;
use std::sync::Barrier;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use benches::work::Way;

use crate::rounds::median;

/// Where the threads run the futures.
#[derive(Clone, Copy)]
pub(crate) enum Runtimes {
    /// Each thread has a current-thread runtime.
    OneEach,
    /// Both threads share one runtime.
    Shared,
}

/// One way, on one thread and on two.
pub(crate) struct Threads {
    pub(crate) name: String,
    /// The nanoseconds on a processor for a use, on one thread.
    pub(crate) one: f64,
    /// The nanoseconds on a processor for a use, on two threads.
    pub(crate) two: f64,
    /// How many times as much work two threads do if each has a processor.
    pub(crate) by_processor: f64,
    /// How many times as much work two threads did on this machine.
    pub(crate) by_clock: f64,
}

/// The work of some threads.
#[derive(Clone, Copy)]
struct Done {
    /// The uses of all threads in a second of the clock.
    per_second: f64,
    /// The nanoseconds on a processor for a use.
    processor: f64,
}

/// How long the threads run in a turn.
const TURN: Duration = Duration::from_millis(15);

/// The number of uses between two looks at the clock.
const USES: u32 = 500;

impl Threads {
    pub(crate) fn measure(way: Way, runtimes: Runtimes, rounds: usize) -> io::Result<Self> {
        let rounds = (0..rounds).map(|_| Ok([run(1, way, runtimes)?, run(2, way, runtimes)?]));
        let rounds = rounds.collect::<io::Result<Vec<_>>>()?;
        let median = |of: fn(&[Done; 2]) -> f64| median(rounds.iter().map(of));
        Ok(Self {
            name: format!("{}, {}", way.name, runtimes.name()),
            one: median(|[one, _]| one.processor),
            two: median(|[_, two]| two.processor),
            by_processor: median(|[one, two]| 2.0 * one.processor / two.processor),
            by_clock: median(|[one, two]| two.per_second / one.per_second),
        })
    }
}

impl Runtimes {
    fn name(self) -> &'static str {
        match self {
            Self::OneEach => "a runtime each",
            Self::Shared => "one runtime",
        }
    }
}

fn run(threads: usize, way: Way, runtimes: Runtimes) -> io::Result<Done> {
    let shared = Builder::new_multi_thread().worker_threads(2).build()?;
    let started = Barrier::new(threads);
    let done = thread::scope(|scope| {
        let one = || one(way, runtimes, &shared, &started);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let joined = threads.into_iter().map(ScopedJoinHandle::join);
        joined
            .map(|done| done.expect("the work does not panic"))
            .collect::<io::Result<Vec<_>>>()
    })?;
    Ok(Done {
        per_second: done.iter().map(|done| done.per_second).sum(),
        processor: median(done.iter().map(|done| done.processor)),
    })
}

fn one(way: Way, runtimes: Runtimes, shared: &Runtime, started: &Barrier) -> io::Result<Done> {
    let run = || match runtimes {
        Runtimes::OneEach => way.run(USES),
        Runtimes::Shared => shared.block_on((way.work)(USES)),
    };
    run();
    started.wait();
    let (begun, processor) = (Instant::now(), on_processor()?);
    let mut uses = 0;
    while begun.elapsed() < TURN {
        run();
        uses += USES;
    }
    let (elapsed, processor) = (begun.elapsed(), on_processor()? - processor);
    Ok(Done {
        per_second: f64::from(uses) / elapsed.as_secs_f64(),
        processor: processor / f64::from(uses),
    })
}

/// Returns for how many nanoseconds this thread has been on a processor.
fn on_processor() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().and_then(|first| first.parse().ok());
    nanos.ok_or_else(|| io::Error::other("`schedstat` begins with no number"))
}
