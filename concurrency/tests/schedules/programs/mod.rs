//! Random programs under random schedules: the model of `tests/integration/guard_model`, on the
//! runtime of shuttle's threads.
//!
//! The programs, the player, the log and the laws are the files of that model. Only [`world`], what
//! the player needs of a runtime, is another one. A program runs with all its operations. Two of
//! them are not quite what they are there:
//!
//! - A nap is a number of polls, because time does not pass here. So is the time limit of an exit.
//!   See `time_limit.rs`.
//! - On no runtime, a task is a part of the code that spawns it, as in that model. The background is
//!   a worker of its own.
//!
//! As the threads have any order here, the laws allow both outcomes if the future beside a body
//! ends it while its holder does.
//!
//! A failure prints the number of the program as `SEED=…`, and the `SCHEDULE=…`. With both, the test
//! runs this schedule alone; with `SEED`, this program. This command makes the program smaller for
//! as long as it breaks the same law under one of the schedules, and prints its `SMALLER=…`, which
//! the tests heed as well:
//!
//! ```text
//! SEED=… TEST=guards_keep_… SCHEDULES=1000 cargo test --release -p concurrency made_smaller -- --ignored --nocapture
//! ```

#[path = "../../../../tests/integration/guard_model/laws.rs"]
mod laws;
#[path = "../../../../tests/integration/guard_model/log.rs"]
mod log;
#[path = "../../../../tests/integration/guard_model/play.rs"]
mod play;
#[path = "../../../../tests/integration/guard_model/program.rs"]
mod program;
mod world;

use core::sync::atomic::{AtomicU64, Ordering};

use std::env;
use std::process::Command;
use std::runtime::Runtime;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, block_on};
use std::time::Duration;

use crate::detached;
use crate::fallback;
use crate::report;
use laws::Broken;
use play::{Mode, Run};
use program::{Block, Random};
use world::Task;

type Reports = Arc<Mutex<Vec<(String, String)>>>;

/// Keeps all reports from now on.
fn caught_reports() -> Reports {
    let reports = Reports::default();
    let hooked = Arc::clone(&reports);
    report::set_hook(move |report| {
        let about = match (report.error(), report.panic()) {
            (Some(error), _) => format!("{error:?}"),
            (_, Some(panic)) => panic.message().to_owned(),
            _ => String::new(),
        };
        let report = (format!("{:?}", report.kind()), laws::plain(&about));
        let mut reports = hooked.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push(report);
    });
    reports
}

/// Returns the program of this number. The variable `SMALLER` leads from there to a smaller one.
fn program_of(seed: u64) -> Block {
    let steps = env::var("SMALLER").unwrap_or_default();
    let steps = steps.split_terminator(',');
    steps.fold(program::program(seed), |program, step| {
        let step: usize = step.parse().expect("SMALLER is a list of numbers");
        program::smaller(&program).swap_remove(step)
    })
}

/// How a program runs.
#[derive(Debug, Clone, Copy)]
struct Setting {
    mode: Mode,
    /// `true` if the program's tasks are aborted at some time.
    is_aborted: bool,
    /// The number of exits that may be in the background before enters wait.
    limit: Option<usize>,
}

/// Runs the program under one schedule, and checks the laws.
fn story(seed: u64, setting: Setting) {
    let program = program_of(seed);
    let reports = caught_reports();
    if let Some(limit) = setting.limit {
        detached::set_limit(limit);
        // An enter waits at the door only for a short time, because a task that an exit joins may
        // wait for that exit.
        report::set_wait_limit(Duration::from_millis(20));
    }
    let run = Run::new(setting.mode, seed);
    let runtime = Runtime::new(2);
    let whole = Arc::clone(&run).play(program.clone());
    if setting.mode == Mode::NoRuntime {
        block_on(whole);
    } else {
        let task = Arc::new(world::spawn_on(runtime.handle(), &run, whole));
        let abort = || aborter(seed, Arc::clone(&run), Arc::clone(&task));
        let aborter = setting.is_aborted.then(abort);
        block_on(task.ended());
        if let Some(aborter) = aborter {
            let tasks = aborter.join().expect("it does not panic");
            for task in tasks {
                block_on(task.ended());
            }
        }
    }
    loop {
        // Asked first, because exits spawn tasks.
        let is_drained = detached::count() == 0;
        let tasks = run.take_tasks();
        if is_drained && tasks.is_empty() {
            break;
        }
        for task in tasks {
            block_on(task.ended());
        }
        block_on(detached::drain());
    }
    runtime.shut_down();
    fallback::reset();
    report::reset_hook();
    detached::set_limit(usize::MAX);
    report::set_wait_limit(Duration::from_secs(10));
    let reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
    let (broken, lines) = run.log(|log| {
        OPS.fetch_add(log.ops, Ordering::Relaxed);
        let broken = laws::broken(log, setting.mode, &reports);
        (broken, log.lines.join("\n"))
    });
    let broken = broken
        .iter()
        .map(|Broken { law, how }| format!("{law}: {how}"));
    let broken = broken.collect::<Vec<_>>().join("\n");
    assert!(
        broken.is_empty(),
        "{LAWS}{broken}\n\n{program}\n{lines}\n\nreports: {reports:?}"
    );
}

/// Starts a thread that aborts all tasks of the program after some time, and returns those that the
/// program has spawned.
fn aborter(seed: u64, run: Arc<Run>, task: Arc<Task>) -> JoinHandle<Vec<Task>> {
    thread::spawn(move || {
        for _ in 0..Random(seed).below(100) {
            thread::yield_now();
        }
        task.abort();
        let tasks = run.take_tasks();
        for task in &tasks {
            task.abort();
        }
        tasks
    })
}

/// The number of operations that all programs have done.
static OPS: AtomicU64 = AtomicU64::new(0);

/// Runs many programs, each under some schedules.
fn check(story: fn(u64)) {
    OPS.store(0, Ordering::Relaxed);
    let runs = std::check_each(story);
    println!("{runs} runs, {} operations", OPS.load(Ordering::Relaxed));
}

/// What a failure says before it names the laws.
const LAWS: &str = "broken laws:\n";

const ON_WORKERS: Setting = Setting {
    mode: Mode::Workers,
    is_aborted: false,
    limit: None,
};

#[test]
fn guards_keep_their_laws_in_any_order_of_the_steps_of_threads() {
    check(|seed| story(seed, ON_WORKERS));
}

#[test]
fn guards_keep_their_laws_when_their_tasks_are_aborted_at_any_step() {
    check(|seed| {
        let setting = Setting {
            is_aborted: true,
            ..ON_WORKERS
        };
        story(seed, setting);
    });
}

#[test]
fn guards_keep_their_laws_in_any_order_of_the_steps_of_enters_that_wait_for_exits() {
    check(|seed| {
        let setting = Setting {
            limit: Some(1),
            ..ON_WORKERS
        };
        story(seed, setting);
    });
}

#[test]
fn guards_keep_their_laws_without_tokio_in_any_order_of_the_steps_of_threads() {
    check(|seed| {
        let setting = Setting {
            mode: Mode::NoRuntime,
            ..ON_WORKERS
        };
        story(seed, setting);
    });
}

/// Returns the first law that the program of `SEED`, made smaller by these steps, breaks under one
/// of the schedules, and what the failure says. A process of its own runs the program, because one
/// that hangs leaves the statics of the runtime as they are.
fn law_broken_by(steps: &str) -> Option<(String, String)> {
    let this = env::current_exe().expect("the system knows it");
    let mut tests = Command::new(this);
    let test = env::var("TEST").expect("TEST is the name of the test that fails");
    tests.args([&format!("programs::{test}"), "--exact", "--nocapture"]);
    let output = tests
        .env("SMALLER", steps)
        .env("RUST_BACKTRACE", "0")
        .output();
    let output = output.expect("the program starts");
    if output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let law = said.split_once(LAWS).and_then(|(_, laws)| {
        let (law, _) = laws.split_once(':')?;
        Some(law.to_owned())
    });
    Some((law.unwrap_or_else(|| "for ever".to_owned()), said))
}

#[test]
#[ignore = "makes the program of `SEED` smaller for as long as it breaks the same law"]
fn a_program_that_breaks_a_law_is_made_smaller() {
    let seed = env::var("SEED").expect("SEED is the number of a program");
    let seed = seed.parse().expect("SEED is a number");
    let mut program = program::program(seed);
    let mut steps = String::new();
    let (law, mut said) = law_broken_by(&steps).expect("the program breaks a law");
    'smaller: loop {
        let candidates = program::smaller(&program);
        for (step, candidate) in candidates.into_iter().enumerate() {
            let next = format!("{steps}{step},");
            if let Some((_, text)) = law_broken_by(&next).filter(|(broken, _)| *broken == law) {
                (program, steps, said) = (candidate, next, text);
                eprintln!("SMALLER={steps}");
                continue 'smaller;
            }
        }
        break;
    }
    println!("{said}\n{law}:\n\n{program}\nSEED={seed} SMALLER={steps}");
}
