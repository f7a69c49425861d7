use std::env;
use std::sync::{Mutex, PoisonError};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Lets only one story run at a time, because the runtime has statics.
static ALONE: Mutex<()> = Mutex::new(());

/// The number of schedules of each kind, unless `SCHEDULES` sets it.
const SCHEDULES: usize = 100;

/// The number of points at which PCT takes the turn from the first thread.
const DEPTH: usize = 4;

/// Runs the story again and again: under schedules in which any thread may take each step, and
/// under those of PCT, where one thread goes on until it waits, except at a few points.
///
/// The variable `SCHEDULES` sets the number of each kind. If a schedule fails, shuttle prints it.
/// With that text in the variable `SCHEDULE`, the test runs this schedule alone.
///
/// # Panics
///
/// If the story panics, or all its threads wait for each other.
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
    // The warnings are about weak memory, which the documentation of this crate covers.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(story);
}
