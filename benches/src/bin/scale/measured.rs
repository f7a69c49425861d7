//! Measures a program's time and memory for each of its contexts.

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use benches::command::output;
use tokio::runtime::{Builder, Runtime};

use crate::rows::{Row, SMALL_STACK};

/// The costs of each context in a program with many contexts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// The time in the round that was disturbed the least.
    pub(crate) nanos: f64,
    /// The most bytes that are held at any time, without those of other threads.
    pub(crate) held: f64,
    /// The bytes that each round keeps. Bytes that only the first round keeps do not count, because
    /// later rounds use them.
    pub(crate) kept: f64,
}

/// The threads of a runtime that poll its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workers {
    /// The thread that polls the program.
    This,
    Two,
}

/// How long a program is repeated.
const LONG: Duration = Duration::from_millis(60);

/// A program that takes this long is only run twice, the minimum for `kept`.
const TOO_LONG: Duration = Duration::from_millis(800);

/// A program that is expected to take longer is left out.
const MUCH_TOO_LONG: Duration = Duration::from_secs(4);

/// Measures a program with each number of contexts, from the fewest on. Numbers that would take
/// much too long are left out.
pub(crate) fn measure(row: Row, sizes: &[usize], workers: Workers) -> io::Result<Vec<Measured>> {
    on_a_stack(row.stack, || {
        let runtime = workers.runtime()?;
        let mut all: Vec<Measured> = Vec::new();
        for &n in sizes {
            if let [.., before, last] = all[..] {
                let growth = (last.nanos / before.nanos).max(1.0);
                let expected = Duration::from_secs_f64(last.nanos * growth * as_f64(n) / 1e9);
                if expected > MUCH_TOO_LONG {
                    break;
                }
            }
            all.push(rounds(&runtime, row, n));
        }
        Ok(all)
    })
}

/// Returns the instructions for each context, as callgrind counts them.
pub(crate) fn instructions(row: Row, n: usize) -> Result<f64, Box<dyn Error>> {
    // A run with a few contexts shows the instructions that the program takes anyway.
    const FEW: usize = 10;

    let count = |n: usize| -> Result<f64, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("callgrind.out");
        let mut valgrind = Command::new("valgrind");
        valgrind
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(env::current_exe()?)
            .args(["--only", row.key, "--once", &n.to_string()]);
        output(&mut valgrind)?;
        let counted = fs::read_to_string(file)?;
        let totals = counted
            .lines()
            .find_map(|line| line.strip_prefix("totals: "));
        Ok(totals.ok_or("callgrind wrote no totals")?.trim().parse()?)
    };
    Ok((count(n)? - count(FEW)?) / as_f64(n - FEW))
}

/// Runs one round, for a profiler.
pub(crate) fn run_once(row: Row, n: usize) -> io::Result<()> {
    on_a_stack(row.stack, || {
        Workers::This.runtime()?.block_on((row.make)(n));
        Ok(())
    })
}

fn on_a_stack<T: Send>(size: usize, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(size);
        let ended = thread.spawn_scoped(scope, work)?.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("it has panicked")))
    })
}

impl Workers {
    fn runtime(self) -> io::Result<Runtime> {
        let mut builder = match self {
            Self::This => Builder::new_current_thread(),
            Self::Two => Builder::new_multi_thread(),
        };
        if self == Self::Two {
            builder.worker_threads(2).thread_stack_size(SMALL_STACK);
        }
        builder.enable_time().build()
    }
}

fn rounds(runtime: &Runtime, row: Row, n: usize) -> Measured {
    let (mut least, mut all) = (Duration::MAX, Duration::ZERO);
    let (mut held, mut kept) = (0, i64::MAX);
    for round in 0.. {
        let mut took = Duration::ZERO;
        let counted = allocation_counter::measure(|| {
            let program = (row.make)(n);
            let begun = Instant::now();
            runtime.block_on(program);
            took = begun.elapsed();
        });
        least = least.min(took);
        all += took;
        held = held.max(counted.bytes_max);
        if round > 0 {
            kept = kept.min(counted.bytes_current);
        }
        if round >= 2 && all > LONG || round >= 1 && all > TOO_LONG {
            break;
        }
    }
    Measured {
        nanos: least.as_secs_f64() * 1e9 / as_f64(n),
        held: as_f64(usize::try_from(held).unwrap_or(usize::MAX)) / as_f64(n),
        kept: as_f64(usize::try_from(kept).unwrap_or(0)) / as_f64(n),
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is far less than 2^52")]
fn as_f64(number: usize) -> f64 {
    number as f64
}
