use std::env;
use std::sync::{Mutex, PoisonError};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// One at a time: the runtime has statics.
static ALONE: Mutex<()> = Mutex::new(());

/// Of each kind, where `SCHEDULES` does not say how many.
const SCHEDULES: usize = 100;

/// At how many points PCT takes the turn from the thread that comes first.
const DEPTH: usize = 4;

/// Runs the story again and again: under schedules in which each step is anybody's, and under those of
/// PCT, where one thread goes on until it waits, but for a few points.
///
/// `SCHEDULES` says how many of each. When one fails, shuttle prints it: with this in the variable
/// `SCHEDULE` the test runs that one alone.
///
/// # Panics
///
/// As the story, and where all its threads wait for each other.
pub fn check(story: impl Fn() + Copy + Send + Sync + 'static) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(schedule) = env::var("SCHEDULE") {
        return run(ReplayScheduler::new_from_encoded(&schedule), story);
    }
    let schedules = match env::var("SCHEDULES") {
        Ok(schedules) => schedules.parse().expect("SCHEDULES is a number"),
        Err(_) => SCHEDULES,
    };
    run(RandomScheduler::new(schedules), story);
    run(PctScheduler::new(DEPTH, schedules), story);
}

fn run(scheduler: impl Scheduler + 'static, story: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 0x10_0000;
    // About weak memory: the library's documentation has it.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(story);
}
