use std::env;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::thread;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Lets only one story run at a time, because the runtime has statics.
static ALONE: Mutex<()> = Mutex::new(());

/// The number of schedules of each kind, unless `SCHEDULES` sets it.
const SCHEDULES: usize = 100;

/// The number of schedules of each kind for one of many stories.
const FOR_EACH: usize = 10;

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
    check_alone(number_of("SCHEDULES").unwrap_or(SCHEDULES), story);
}

/// Runs many stories, each of which a number tells, from 1 on, under a few schedules of each kind.
/// So the number of all schedules is that of [`check`]. Returns the number of runs.
///
/// If a schedule fails, the number of the story is printed too, as `SEED=…`. With that number in the
/// variable `SEED`, only this story runs, under as many schedules as [`check`] runs.
///
/// # Panics
///
/// If a story panics, or all its threads wait for each other.
pub fn check_each(story: impl Fn(u64) + Copy + Send + Sync + 'static) -> usize {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let schedules = number_of("SCHEDULES").unwrap_or(SCHEDULES);
    if let Some(seed) = number_of("SEED") {
        check_seed(seed, schedules, story);
        return 2 * schedules;
    }
    let stories = schedules.div_ceil(FOR_EACH);
    for seed in (1..).take(stories) {
        check_seed(seed, FOR_EACH, story);
    }
    2 * stories * FOR_EACH
}

fn check_seed(seed: u64, schedules: usize, story: impl Fn(u64) + Copy + Send + Sync + 'static) {
    /// Prints the number of the story that has failed.
    struct Seed(u64);

    impl Drop for Seed {
        fn drop(&mut self) {
            if thread::panicking() {
                eprintln!("SEED={}", self.0);
            }
        }
    }

    let _seed = Seed(seed);
    check_alone(schedules, move || story(seed));
}

fn check_alone(schedules: usize, story: impl Fn() + Copy + Send + Sync + 'static) {
    if let Ok(schedule) = env::var("SCHEDULE") {
        return run(ReplayScheduler::new_from_encoded(&schedule), story);
    }
    run(RandomScheduler::new(schedules), story);
    run(PctScheduler::new(DEPTH, schedules), story);
}

fn number_of<N: FromStr>(variable: &str) -> Option<N> {
    let value = env::var(variable).ok()?;
    let number = value.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{variable} is a number")))
}

fn run(scheduler: impl Scheduler + 'static, story: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 0x10_0000;
    // The warnings are about weak memory, which the documentation of this crate covers.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(story);
}
