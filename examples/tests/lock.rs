//! The lock of `distributed_lock` on its own, lost, waited for, given up, and on a Redis that
//! stands still.

#![forbid(unsafe_code)]

#[path = "../distributed_lock/counter.rs"]
mod counter;
#[path = "../distributed_lock/lock.rs"]
mod lock;
#[expect(dead_code, reason = "nothing is killed here")]
mod redis_server;

use std::error::Error;
use std::future::pending;
use std::time::{Duration, Instant};

use async_context_manager::testing::cancel_everywhere;
use async_context_manager::{detached, prelude::*};
use redis::aio::ConnectionManager;
use redis::{AsyncCommands as _, Commands as _};
use tokio::time::{sleep, timeout};

use counter::{Counter, place};
use lock::{LockError, Terms, connect, eval, fence_key, lock};
use redis_server::{Server, WATCHDOG, redis_url};

type AnyError = Box<dyn Error + Send + Sync>;
type Tested = Result<(), AnyError>;

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);

/// A lock that nobody else has heard of, on the Redis that is there.
async fn unheard_of() -> (ConnectionManager, String) {
    let redis = connect(&redis_url())
        .await
        .expect("REDIS_URL names a Redis");
    (
        redis,
        format!("distributed_lock:test:{:016x}", rand::random::<u64>()),
    )
}

const TERMS: Terms = Terms {
    lease: Duration::from_millis(1500),
    patience: LONG,
};

async fn remove(mut redis: ConnectionManager, name: &str) -> Tested {
    Ok(redis.del((name, fence_key(name))).await?)
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn the_body_ends_when_its_lock_is_gone() -> Tested {
    let (mut redis, name) = unheard_of().await;
    let result = lock(redis.clone(), name.clone(), TERMS)
        .try_with(async |_| {
            let () = redis.del(&name).await?;
            pending::<Result<(), _>>().await
        })
        .await;
    // Once: the exit adds nothing to it.
    assert!(
        matches!(result, Err(Failure::Body(LockError::Lost))),
        "{result:?}"
    );
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_body_that_did_not_notice_fails_and_the_other_s_lock_stays() -> Tested {
    let (mut redis, name) = unheard_of().await;
    let result = lock(redis.clone(), name.clone(), TERMS)
        .try_with(async |_| Ok(redis.set::<_, _, ()>(&name, "another's").await?))
        .await;
    assert!(
        matches!(
            result,
            Err(Failure::Exit {
                error: LockError::Lost,
                ..
            })
        ),
        "{result:?}"
    );
    assert_eq!(redis.get::<_, String>(&name).await?, "another's");
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_late_write_is_refused_by_its_fencing_token() -> Tested {
    place(redis_url())
        .with(async |name| {
            let mut redis = connect(&redis_url()).await?;
            let mut counter = Counter::of(redis.clone(), name);
            // Paused after it has read, for longer than its lease: and then it does not look.
            let paused = lock(redis.clone(), name.clone(), TERMS).guard().await?;
            let value = counter.read(paused.fence()).await?;
            let () = redis.del(&*name).await?;

            let next = lock(redis.clone(), name.clone(), TERMS).guard().await?;
            assert!(next.fence() > paused.fence());
            assert_eq!(counter.read(next.fence()).await?, value);
            assert!(!counter.write(paused.fence(), 7).await?);
            assert!(counter.write(next.fence(), 1).await?);
            assert_eq!(counter.read(paused.fence()).await?, None);
            Guard::close(next).await?;
            let late = Guard::close(paused).await;
            assert!(matches!(late, Err(LockError::Lost)), "{late:?}");

            let tally = counter.tally().await?;
            assert_eq!((tally.value, tally.writes, tally.refused), (1, 1, 2));
            Ok(())
        })
        .await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn the_lease_is_renewed_until_the_body_ends() -> Tested {
    let (mut redis, name) = unheard_of().await;
    lock(redis.clone(), name.clone(), TERMS)
        .with(async |_| {
            let begun = Instant::now();
            while begun.elapsed() <= TERMS.lease {
                let left: i64 = redis.pttl(&name).await?;
                assert!(left > 0, "the lease has run out");
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        })
        .await?;
    assert!(!redis.exists::<_, bool>(&name).await?);
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_dead_owner_s_lock_is_free_when_its_lease_is_over() -> Tested {
    let (mut redis, name) = unheard_of().await;
    let () = redis.pset_ex(&name, "a dead owner's", 60_000).await?;
    let patience = Duration::from_millis(100);
    let terms = Terms { patience, ..TERMS };
    let result = lock(redis.clone(), name.clone(), terms)
        .with(async |_| Ok(()))
        .await;
    assert!(
        matches!(result, Err(LockError::Busy(limit)) if limit == patience),
        "{result:?}"
    );

    let () = redis.pset_ex(&name, "a dead owner's", 200).await?;
    let begun = Instant::now();
    let fence = lock(redis.clone(), name.clone(), TERMS)
        .with(async |lock| Ok(lock.fence()))
        .await?;
    assert_eq!(fence, 1);
    assert!(begun.elapsed() >= Duration::from_millis(190));
    let fence = lock(redis.clone(), name.clone(), TERMS)
        .with(async |lock| Ok(lock.fence()))
        .await?;
    assert_eq!(fence, 2);
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn whoever_gives_up_waiting_is_gone_at_once() -> Tested {
    let (mut redis, name) = unheard_of().await;
    let () = redis.pset_ex(&name, "another's", 60_000).await?;
    // Given up in the middle of an attempt, or between two of them.
    for limit in (0..60).map(Duration::from_millis) {
        let waiting = lock(redis.clone(), name.clone(), TERMS).with(async |_| Ok(()));
        assert!(timeout(limit, waiting).await.is_err());
    }
    // They would wait for an hour, if they went on.
    timeout(Duration::from_secs(30), detached::drain()).await?;
    assert_eq!(redis.get::<_, String>(&name).await?, "another's");
    remove(redis, &name).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn given_up_at_any_poll_the_key_is_gone() -> Tested {
    let (redis, name) = unheard_of().await;
    let mut looking = redis::Client::open(redis_url())?.get_connection()?;
    let runs = cancel_everywhere(
        || {
            let mut redis = redis.clone();
            lock(redis.clone(), name.clone(), TERMS)
                .with(async move |_| Ok(redis.ping::<String>().await?))
        },
        |run| {
            let left: bool = looking.exists(&name).expect("Redis answers");
            assert!(!left, "the key is still there");
            assert!(run.reports().is_empty(), "{run:?}");
        },
    )
    .await;
    assert!(runs > 3, "{runs}");
    remove(redis, &name).await
}

/// Both are sent to a Redis that stands still. It does what it was told when it goes on, in order.
async fn what_a_stopped_redis_leaves(
    redis: &mut ConnectionManager,
    name: &str,
) -> Result<(bool, Option<u64>), AnyError> {
    let keys = [name, &fence_key(name)];
    let look = "return {redis.call('EXISTS', KEYS[1]), redis.call('GET', KEYS[2])}";
    Ok(eval(look, &keys).query_async(redis).await?)
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn an_acquire_whose_answer_never_came_leaves_no_key() -> Tested {
    let server = Server::start()?;
    let mut redis = connect(&server.url()).await?;
    let terms = Terms {
        lease: LONG,
        patience: LONG,
    };
    server.signal("STOP")?;
    let result = lock(redis.clone(), "lock".into(), terms)
        .with(async |_| Ok(()))
        .await;
    assert!(
        matches!(&result, Err(LockError::Redis(error)) if error.is_timeout()),
        "{result:?}"
    );
    server.signal("CONT")?;
    assert_eq!(
        what_a_stopped_redis_leaves(&mut redis, "lock").await?,
        (false, Some(1))
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn an_acquire_that_is_given_up_on_its_way_leaves_no_key() -> Tested {
    let server = Server::start()?;
    let mut redis = connect(&server.url()).await?;
    let terms = Terms {
        lease: LONG,
        patience: LONG,
    };
    server.signal("STOP")?;
    let use_of_it = lock(redis.clone(), "lock".into(), terms).with(async |_| Ok(()));
    assert!(timeout(Duration::from_millis(20), use_of_it).await.is_err());
    assert_eq!(detached::count(), 1);
    server.signal("CONT")?;
    timeout(WATCHDOG, detached::drain()).await?;
    assert_eq!(
        what_a_stopped_redis_leaves(&mut redis, "lock").await?,
        (false, Some(1))
    );
    Ok(())
}
