//! Runs random programs that use guards and are dropped at random points, and checks the laws that
//! a program may rely on.
//!
//! [`program`] makes the programs and makes them smaller, [`play`] runs them on the real crate,
//! [`log`] keeps the events, and [`laws`] checks them: each context that was entered exits once,
//! with the true outcome; nothing waits for ever; exits keep the order of the rules a to f; and
//! each error and panic is returned or reported, once. In every second program, futures run beside
//! the bodies: they end well, go on, fail or panic, and parts of the bodies of guards run beside
//! them. Such a future runs once, after enter, and is gone when exit begins.
//!
//! This command starts a long run, and prints the number of operations:
//!
//! ```text
//! PROPTEST_CASES=1000000 cargo test -p tests --test integration guard_model::programs -- --ignored --nocapture --test-threads 1
//! ```
//!
//! `SEED=…` runs the program that a failure names, or begins with that program. `KEEP_GOING=3` goes
//! on after a failure. At the end it prints how many programs broke each law, and three of these
//! programs for each law, made smaller.

mod laws;
mod log;
mod play;
mod program;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use async_context_manager::{detached, observe, report};
use futures::executor;
use tests::{Stage, in_a_process_of_its_own};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use laws::Broken;
use play::{Mode, Run};
use program::{Block, program, smaller};

/// A program that still runs after this time counts as one that never ends. In paused time, this
/// wait takes no time.
const FOR_EVER: Duration = Duration::from_secs(10);

/// A shorter limit for real time, while failing programs are searched for, or made smaller.
const LONG: Duration = Duration::from_millis(500);

/// Programs that have broken a law in rare schedules. In one, an entry that was let go and then
/// ended was taken for another entry, which stood in its slot of the list by then.
const KNOWN: [u64; 3] = [146_116, 196_671, 294_077];

/// Runs programs, one after the other.
struct Runner {
    mode: Mode,
    stage: Stage,
    workers: Option<Runtime>,
    /// The number of exits that wait for ever, and so stay.
    stuck: usize,
    patience: Duration,
    /// The number of exits, besides those that stay, that may be in the background before enters
    /// wait.
    limit: Option<usize>,
}

/// The results of a run.
struct Ran {
    ops: u64,
    broken: Vec<Broken>,
    lines: Vec<String>,
}

impl Runner {
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            stage: Stage::alone(),
            workers: None,
            stuck: 0,
            patience: FOR_EVER,
            limit: None,
        }
    }

    fn hurry(&mut self) {
        if self.mode != Mode::Paused {
            self.patience = LONG;
        }
    }

    fn run(&mut self, program: &Block, seed: u64) -> Ran {
        let _ = self.stage.reports();
        let run = Run::new(self.mode, seed);
        if let Some(limit) = self.limit {
            detached::set_limit(self.stuck + limit);
        }
        let whole = whole(Arc::clone(&run), program.clone(), self.stuck);
        let ended = match self.mode {
            Mode::Paused => {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .start_paused(true)
                    .build();
                let runtime = runtime.expect("the system has a runtime for us");
                self.drive(runtime, whole).is_some()
            }
            Mode::Workers => {
                let workers = self.workers.take().unwrap_or_else(workers);
                self.workers = self.drive(workers, whole);
                self.workers.is_some()
            }
            Mode::NoRuntime => {
                let (ended, end) = mpsc::channel();
                thread::spawn(move || {
                    executor::block_on(whole);
                    let _ = ended.send(());
                });
                end.recv_timeout(self.patience).is_ok()
            }
        };
        let count = detached::count();
        let reports = self.stage.reports().into_iter();
        let reports: Vec<_> = reports
            .filter(|(kind, _)| self.limit.is_none() || *kind != report::Kind::LongWait)
            .map(|(kind, what)| (format!("{kind:?}"), laws::plain(&what)))
            .collect();
        let ran = run.log(|log| {
            let mut broken = Vec::new();
            if ended && count == self.stuck {
                broken = laws::broken(log, self.mode, &reports);
            } else {
                let waits = log.records.iter().filter(|record| {
                    record.given.is_some() && record.ended.is_none() && !record.enter_failed
                });
                let waits: Vec<_> = waits.map(ToString::to_string).collect();
                let how = format!("{} never end; {count} are counted", waits.join(", "));
                broken.push(Broken {
                    law: "for ever",
                    how,
                });
            }
            Ran {
                ops: log.ops,
                broken,
                lines: mem::take(&mut log.lines),
            }
        });
        self.stuck = count;
        ran
    }

    /// Gives the runtime back if the program ends. Exits that wait for ever stay on their runtime:
    /// if it shut down, they would be tried elsewhere.
    fn drive(
        &self,
        runtime: Runtime,
        whole: impl Future<Output = ()> + Send + 'static,
    ) -> Option<Runtime> {
        let ended = runtime.block_on(async {
            // Spawned as a task, because the rules for guards tell tasks apart.
            timeout(self.patience, tokio::spawn(whole)).await
        });
        if ended.is_ok() {
            return Some(runtime);
        }
        mem::forget(runtime);
        None
    }

    /// Makes a program smaller for as long as it breaks the same law, and returns the smallest
    /// program as text.
    fn tell(&mut self, mut program: Block, first: u64, law: &str) -> String {
        let patience = self.patience;
        self.hurry();
        let begun = Instant::now();
        let mut seed = first;
        'smaller: loop {
            for candidate in smaller(&program) {
                if begun.elapsed() > Duration::from_secs(60) {
                    break 'smaller;
                }
                for schedule in [seed, 1, 2] {
                    let ran = self.run(&candidate, schedule);
                    if ran.broken.iter().any(|broken| broken.law == law) {
                        (program, seed) = (candidate, schedule);
                        continue 'smaller;
                    }
                }
            }
            break;
        }
        // A slow program may have been taken for one that never ends.
        self.patience = FOR_EVER;
        // A failure that depends on other threads may need several tries.
        let mut ran = self.run(&program, seed);
        for _ in 0..10 {
            if ran.broken.iter().any(|broken| broken.law == law) {
                break;
            }
            ran = self.run(&program, seed);
        }
        self.patience = patience;
        let broken = ran
            .broken
            .iter()
            .map(|Broken { law, how }| format!("{law}: {how}"));
        format!(
            "{}\nSEED={first}, {:?}, made smaller (schedule {seed}):\n\n{program}\n{}\n",
            broken.collect::<Vec<_>>().join("\n"),
            self.mode,
            ran.lines.join("\n"),
        )
    }
}

fn workers() -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("the system has a runtime for us")
}

/// Runs the program, and waits for all that it leaves behind.
async fn whole(run: Arc<Run>, program: Block, stuck: usize) {
    Arc::clone(&run).play(program).await;
    loop {
        // Asked first, because exits spawn tasks.
        let is_drained = detached::count() <= stuck;
        let tasks = run.take_tasks();
        if is_drained && tasks.is_empty() {
            return;
        }
        for task in tasks {
            let _ = task.await;
        }
        if stuck == 0 {
            detached::drain().await;
        } else if run.mode == Mode::NoRuntime {
            thread::sleep(Duration::from_micros(100));
        } else {
            run.nap(1).await;
        }
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("the variable is a number"))
}

fn check(mode: Mode, cases: u64) {
    check_with(mode, cases, None);
}

fn check_with(mode: Mode, cases: u64, limit: Option<usize>) {
    let cases = number_of("PROPTEST_CASES").unwrap_or(cases);
    let first = number_of("SEED").unwrap_or(1);
    let cases = if number_of("SEED").is_some() && number_of("PROPTEST_CASES").is_none() {
        1
    } else {
        cases
    };
    let shown = number_of("KEEP_GOING");
    let mut ops = 0;
    let mut runner = Runner::new(mode);
    // Made after the runner, which is alone in the process, because these settings hold for the
    // whole process.
    let _bounded = limit.map(|_| Bounded::begin());
    runner.limit = limit;
    if shown.is_some() {
        runner.hurry();
    }
    let mut found = BTreeMap::<&str, (u64, BTreeSet<String>)>::new();
    let is_all = mode == Mode::Paused && number_of("SEED").is_none();
    let known = KNOWN.iter().copied().filter(|_| is_all);
    for seed in known.chain(first..first + cases) {
        let program = program(seed);
        let ran = runner.run(&program, seed);
        ops += ran.ops;
        let laws: BTreeSet<_> = ran.broken.iter().map(|broken| broken.law).collect();
        for law in laws {
            let (times, texts) = found.entry(law).or_default();
            *times += 1;
            if texts.len() as u64 >= shown.unwrap_or(1) {
                continue;
            }
            let text = runner.tell(program.clone(), seed, law);
            assert!(shown.is_some(), "{text}");
            texts.insert(text);
        }
    }
    let _ = runner.stage.reports();
    println!("{mode:?}: {cases} programs, {ops} operations");
    for (law, (times, texts)) in &found {
        println!("\n=== {law}: {times} programs");
        for text in texts {
            println!("--- {text}");
        }
    }
    assert!(found.is_empty(), "{} laws are broken", found.len());
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn programs_in_paused_time() {
    check(Mode::Paused, 4000);
}

#[test]
fn guards_keep_their_laws_whatever_is_opened_moved_failed_or_dropped() {
    let _ = in_a_process_of_its_own("guard_model::programs_in_paused_time");
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn programs_on_two_workers() {
    check(Mode::Workers, 3000);
}

#[test]
fn guards_keep_their_laws_when_other_threads_finish_their_exits() {
    let _ = in_a_process_of_its_own("guard_model::programs_on_two_workers");
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn programs_without_a_runtime() {
    check(Mode::NoRuntime, 2000);
}

#[test]
fn guards_keep_their_laws_without_tokio() {
    let _ = in_a_process_of_its_own("guard_model::programs_without_a_runtime");
}

/// While this exists, open contexts are listed, and an enter waits at the door only for a short
/// time, because a task that an exit joins may wait for that exit.
struct Bounded;

impl Bounded {
    fn begin() -> Self {
        observe::set_listing(true);
        report::set_wait_limit(Duration::from_millis(20));
        Self
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        detached::set_limit(usize::MAX);
        observe::set_listing(false);
        report::set_wait_limit(Duration::from_secs(10));
    }
}

/// Checks programs with the list on and a limit on the exits in the background, so that enters
/// wait.
fn check_bounded(mode: Mode, cases: u64) {
    check_with(mode, cases, Some(1));
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn bounded_programs_in_paused_time() {
    check_bounded(Mode::Paused, 2000);
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn bounded_programs_on_two_workers() {
    check_bounded(Mode::Workers, 1000);
}

#[test]
fn guards_keep_their_laws_while_the_exits_in_the_background_are_limited() {
    let _ = in_a_process_of_its_own("guard_model::bounded_programs_in_paused_time");
    let _ = in_a_process_of_its_own("guard_model::bounded_programs_on_two_workers");
}
