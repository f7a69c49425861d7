//! One of the processes: adds to the counter whenever it is its turn, and gives up some turns on
//! the way.

use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_context_manager::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use redis::RedisError;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::counter::Counter;
use crate::lock::{LockError, connect, lock};
use crate::{AnyError, Options};

/// What a worker tells when it has taken the lock for good.
pub(crate) const KEEPS: &str = "keeps the lock";

/// One of so many turns is given up.
const GIVEN_UP: u32 = 4;

/// At some moment before this.
const SOON: Duration = Duration::from_millis(8);

/// Why a turn has failed.
#[derive(Debug, Error)]
enum TurnError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("the counter: {0}")]
    Counter(#[from] RedisError),
    #[error("the counter refused a write: there was another owner since")]
    Refused,
}

/// What became of the turns of one process.
#[derive(Debug, Default)]
struct Turns {
    added: u64,
    given_up: u64,
    lost: u64,
    failed: u64,
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            given_up,
            lost,
            failed,
        } = self;
        write!(
            f,
            "added {added}, gave up {given_up}, lost the lock {lost} times, had no Redis {failed} times"
        )
    }
}

/// Takes turns until the counter is where it has to get to.
pub(crate) async fn run(number: u16, name: String, options: Options) -> Result<(), AnyError> {
    let redis = connect(&options.redis_url).await?;
    let counter = Counter::of(redis.clone(), &name);
    let terms = options.terms();
    let mut random = SmallRng::seed_from_u64(options.seed.wrapping_add(number.into()));
    let mut turns = Turns::default();
    // The first one keeps the lock in the middle of it all, if it is told to; and if it had no turn
    // until then, at the end.
    let mut keeps = (number == 1 && (options.kill || options.keep)).then_some(options.adds / 2);
    let mut last_good = Instant::now();
    loop {
        let kept = AtomicBool::new(false);
        let turn = lock(redis.clone(), name.clone(), terms)
            .err_into::<TurnError>()
            .with(async |lock| {
                let keep = || kept.store(true, Ordering::Relaxed);
                take_turn(counter.clone(), lock.fence(), options.adds, keeps, keep).await
            });
        let limit = if keeps.is_none() && random.random_ratio(1, GIVEN_UP) {
            random.random_range(Duration::ZERO..SOON)
        } else {
            Duration::MAX
        };
        match timeout(limit, turn).await {
            Ok(Ok(true)) => turns.added += 1,
            // The others have done the rest.
            Ok(Ok(false)) => break,
            Err(_) => turns.given_up += 1,
            Ok(Err(TurnError::Lock(LockError::Lost) | TurnError::Refused)) => {
                turns.lost += 1;
                if kept.load(Ordering::Relaxed) {
                    keeps = None;
                    println!("has lost the lock that it kept");
                }
            }
            Ok(Err(error @ TurnError::Lock(LockError::Busy(_)))) => return Err(error.into()),
            Ok(Err(TurnError::Lock(LockError::Redis(error)) | TurnError::Counter(error))) => {
                turns.failed += 1;
                if last_good.elapsed() >= terms.patience {
                    return Err(error.into());
                }
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        }
        last_good = Instant::now();
    }
    println!("{turns}");
    Ok(())
}

/// Reads the counter, and writes one more; or tells that there is nothing left to do; or, from the
/// value on at which it is to keep the lock, does so and nothing else.
async fn take_turn(
    mut counter: Counter,
    fence: u64,
    adds: u64,
    keeps_from: Option<u64>,
    keep: impl FnOnce(),
) -> Result<bool, TurnError> {
    let value = counter.read(fence).await?.ok_or(TurnError::Refused)?;
    if keeps_from.is_some_and(|from| value >= from) {
        keep();
        println!("{KEEPS}");
        return pending().await;
    }
    if value >= adds {
        return Ok(false);
    }
    // Whoever does not have the lock to itself overwrites here what others have added.
    sleep(Duration::from_millis(1)).await;
    if counter.write(fence, value + 1).await? {
        Ok(true)
    } else {
        Err(TurnError::Refused)
    }
}
