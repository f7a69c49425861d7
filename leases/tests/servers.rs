#![forbid(unsafe_code)]
//! Leases on real servers. The same things have to be true of each store.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_context_leases::{
    AdvisoryLock, Claim, Lease, LeaseError, NatsError, NatsStore, PostgresStore, RedisStore, Store,
    advisory_lock, lease, pass_fence, try_lease,
};
use async_context_manager::{detached, prelude::*};
use async_nats::jetstream::{self, kv, stream};
use redis::aio::MultiplexedConnection;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const TTL: Duration = Duration::from_secs(2);

/// Longer than a process may stand still on a busy machine: then no lease is lost.
const LONG_TTL: Duration = Duration::from_secs(30);

fn url_of(variable: &str) -> String {
    let url = std::env::var(variable);
    url.unwrap_or_else(|_| panic!("set {variable} to the URL of a server"))
}

/// A name that no other run has.
fn name() -> String {
    Claim::new("", TTL).holder().to_owned()
}

async fn redis_store() -> RedisStore<MultiplexedConnection> {
    let client = redis::Client::open(url_of("REDIS_URL")).expect("a URL of Redis");
    let connection = client.get_multiplexed_async_connection().await;
    RedisStore::new(connection.expect("a connection to Redis"))
}

async fn pool() -> PgPool {
    let pool = PgPoolOptions::new().max_connections(8);
    let pool = pool.connect(&url_of("DATABASE_URL")).await;
    pool.expect("a connection to PostgreSQL")
}

async fn postgres_store() -> PostgresStore {
    let store = PostgresStore::new(pool().await);
    store.create_tables().await.expect("the tables are there");
    store
}

/// A bucket that only this test has, as a context: it is deleted in the end.
#[async_context]
async fn bucket(max_age: Duration) -> Result<kv::Store, async_nats::Error> {
    let client = async_nats::connect(url_of("NATS_URL")).await?;
    let jetstream = jetstream::new(client);
    // `create_key_value` asks servers for what they have told since NATS 2.10.
    let name = format!("leases-{}", name());
    let stream = stream::Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        max_age,
        allow_rollup: true,
        deny_delete: true,
        ..stream::Config::default()
    };
    jetstream.create_stream(stream).await?;
    let bucket = jetstream.get_key_value(name).await?;
    let (bucket, _) = yield_!(bucket);
    jetstream.delete_key_value(bucket.name).await?;
    Ok(())
}

/// What each store owes, request by request.
async fn keeps_the_contract<S: Store>(store: S) {
    let name = name();
    let short = Duration::from_millis(200);
    let (first, second) = (Claim::new(&name, short), Claim::new(&name, TTL));
    assert_eq!(store.current(&name).await.unwrap(), None);
    assert!(!store.renew(&first).await.unwrap());
    assert!(!store.release(&first).await.unwrap());
    let one = store.acquire(&first).await.unwrap().expect("it is free");
    assert!(one > 0);
    assert_eq!(store.acquire(&second).await.unwrap(), None);
    assert!(store.renew(&first).await.unwrap());
    assert!(!store.renew(&second).await.unwrap());
    assert!(!store.release(&second).await.unwrap());
    assert_eq!(store.current(&name).await.unwrap(), Some(one));

    // The lease of the first one ends by the server's clock.
    let renewed = Instant::now();
    assert!(store.renew(&first).await.unwrap());
    let two = loop {
        if let Some(token) = store.acquire(&second).await.unwrap() {
            break token;
        }
        sleep(short / 10).await;
    };
    assert!(renewed.elapsed() >= short);
    assert!(one < two);
    assert!(!store.renew(&first).await.unwrap());
    assert!(!store.release(&first).await.unwrap());
    assert_eq!(store.current(&name).await.unwrap(), Some(two));
    assert!(store.renew(&second).await.unwrap());
    assert_eq!(store.current(&name).await.unwrap(), Some(two));
    assert!(store.release(&second).await.unwrap());
    assert_eq!(store.current(&name).await.unwrap(), None);
    let third = Claim::new(&name, TTL);
    let three = store.acquire(&third).await.unwrap().expect("it is free");
    assert!(two < three);
    assert!(store.release(&third).await.unwrap());
}

/// Twenty tasks want the lease 25 times each, and drop every third use at a random moment.
async fn is_held_by_one_at_a_time<S: Store + Clone>(store: S) {
    let name = name();
    let (inside, highest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let (store, name) = (store.clone(), name.clone());
        let (inside, highest) = (Arc::clone(&inside), Arc::clone(&highest));
        tasks.spawn(async move {
            for turn in 0..25 {
                let (inside, highest) = (Arc::clone(&inside), Arc::clone(&highest));
                let body = async move |lease: &mut Lease| {
                    let before = highest.swap(lease.token(), Ordering::SeqCst);
                    assert!(before < lease.token(), "the token grows");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    let inside = Inside(inside);
                    sleep(Duration::from_millis(1)).await;
                    drop(inside);
                    Ok(())
                };
                let turns = lease(store.clone(), &name)
                    .ttl(LONG_TTL)
                    .backoff(Duration::from_millis(1), Duration::from_millis(20));
                let used = turns.with(body);
                if turn % 3 == 0 {
                    let moment = Duration::from_micros(rand::random_range(0..20_000));
                    let _ = timeout(moment, used).await;
                } else {
                    used.await.expect("nothing fails");
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task fails");
    }
    detached::drain().await;
    assert_eq!(store.current(&name).await.unwrap(), None);
}

struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A lease outlives its ttl while the body runs.
async fn is_renewed_while_the_body_runs<S: Store + Clone>(store: S) {
    let name = name();
    let ttl = Duration::from_millis(900);
    let body = async |_: &mut Lease| {
        sleep(ttl * 3).await;
        let second = try_lease(store.clone(), &name).ttl(ttl);
        let second = second.with(async |_| Ok(())).await;
        assert!(matches!(second, Err(LeaseError::Held)), "{second:?}");
        Ok(())
    };
    let held = lease(store.clone(), &name).ttl(ttl);
    held.with_local(body).await.expect("it is renewed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis"]
async fn leases_on_redis() {
    let store = redis_store().await;
    keeps_the_contract(store.clone()).await;
    is_renewed_while_the_body_runs(store.clone()).await;
    is_held_by_one_at_a_time(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn leases_on_postgresql() {
    let store = postgres_store().await;
    keeps_the_contract(store.clone()).await;
    is_renewed_while_the_body_runs(store.clone()).await;
    is_held_by_one_at_a_time(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs NATS"]
async fn leases_on_nats() {
    // Each lease lasts as long as its bucket says: so a bucket for each.
    bucket(TTL)
        .with(async |bucket| {
            let store = NatsStore::new(bucket.clone())?;
            keeps_the_contract(store.clone()).await;
            Ok(())
        })
        .await
        .unwrap();
    bucket(Duration::from_millis(900))
        .with(async |bucket| {
            is_renewed_while_the_body_runs(NatsStore::new(bucket.clone())?).await;
            Ok(())
        })
        .await
        .unwrap();
    bucket(LONG_TTL)
        .with(async |bucket| {
            is_held_by_one_at_a_time(NatsStore::new(bucket.clone())?).await;
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs NATS"]
async fn a_bucket_of_nats_has_to_remove_what_is_not_renewed_and_not_too_early() {
    let refused = bucket(Duration::ZERO)
        .with(async |bucket| Ok(NatsStore::new(bucket.clone())))
        .await
        .unwrap();
    assert!(matches!(refused, Err(NatsError::NoMaxAge(_))));
    bucket(TTL)
        .with(async |bucket| {
            let store = NatsStore::new(bucket.clone())?;
            let long = lease(store, name()).ttl(TTL + Duration::from_millis(1));
            let refused = long.with(async |_| Ok(())).await;
            assert!(matches!(
                refused,
                Err(LeaseError::Store(NatsError::TtlTooLong { .. }))
            ));
            Ok(())
        })
        .await
        .unwrap();
}

/// What a holder has sent, and given up, may arrive at any time later.
#[tokio::test]
#[ignore = "needs NATS"]
async fn a_renewal_of_the_same_holder_in_between_does_not_lose_a_lease_on_nats() {
    bucket(LONG_TTL)
        .with(async |bucket| {
            let store = NatsStore::new(bucket.clone())?;
            let claim = Claim::new(name(), LONG_TTL);
            let token = store.acquire(&claim).await?;
            let renewals = (0..20).map(|_| store.renew(&claim));
            let renewed = futures::future::try_join_all(renewals).await?;
            assert!(renewed.into_iter().all(|is_ours| is_ours));
            assert_eq!(store.current(claim.name()).await?, token);
            assert!(store.release(&claim).await?);
            assert_eq!(store.current(claim.name()).await?, None);
            Ok(())
        })
        .await
        .unwrap();
}

fn advisory(name: &str) -> AdvisoryLock {
    let server = url_of("DATABASE_URL").parse();
    advisory_lock(server.expect("a URL of PostgreSQL"), name).ttl(TTL)
}

/// The sessions of PostgreSQL that have this lock, or that wait for this lock.
async fn sessions(pool: &PgPool, name: &str, has: bool) -> Vec<i32> {
    let query = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted = $2
        AND (classid::bigint << 32) | objid::bigint = hashtextextended($1, 0)";
    let sessions = sqlx::query_scalar(query).bind(name).bind(has);
    sessions.fetch_all(pool).await.expect("PostgreSQL answers")
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn an_advisory_lock_is_held_in_the_body_and_by_one_session() {
    let _tables = postgres_store().await;
    let (pool, name) = (pool().await, name());
    let body = async |lease: &mut Lease| {
        assert_eq!(sessions(&pool, &name, true).await.len(), 1);
        let second = advisory(&name).wait_at_most(Duration::ZERO);
        let second = second.with(async |_| Ok(())).await;
        assert!(matches!(second, Err(LeaseError::Held)), "{second:?}");
        let patience = Duration::from_millis(300);
        let begun = Instant::now();
        let third = advisory(&name).wait_at_most(patience);
        let third = third.with(async |_| Ok(())).await;
        assert!(matches!(third, Err(LeaseError::Held)), "{third:?}");
        assert!(begun.elapsed() >= patience);
        Ok(lease.token())
    };
    assert_eq!(advisory(&name).with(body).await.unwrap(), 1);
    assert!(sessions(&pool, &name, true).await.is_empty());
    let token = advisory(&name).with(async |lease| Ok(lease.token())).await;
    assert_eq!(token.unwrap(), 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_wait_for_an_advisory_lock_that_asks_again_ends_at_its_limit() {
    let _tables = postgres_store().await;
    let name = name();
    let body = async |_: &mut Lease| {
        let patience = Duration::from_millis(2_500);
        let second = advisory(&name).ttl(Duration::from_secs(2));
        let begun = Instant::now();
        let second = second.wait_at_most(patience).with(async |_| Ok(())).await;
        let took = begun.elapsed();
        assert!(matches!(second, Err(LeaseError::Held)), "{second:?}");
        // The second wait for a whole ttl would have lasted until four seconds.
        assert!(
            took >= patience && took < Duration::from_millis(3_800),
            "{took:?}"
        );
        Ok(())
    };
    advisory(&name).with(body).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn what_limits_the_wait_for_an_advisory_lock_does_not_limit_the_wait_for_its_token() {
    let _tables = postgres_store().await;
    let (pool, name) = (pool().await, name());
    let token = advisory(&name).with(async |lease| Ok(lease.token())).await;
    assert_eq!(token.unwrap(), 1);
    // Nobody has the lock, but another transaction has the row with the token for a while.
    let mut other = pool.begin().await.unwrap();
    let query = "SELECT token FROM async_context_leases WHERE name = $1 FOR UPDATE";
    let row: i64 = sqlx::query_scalar(query)
        .bind(&name)
        .fetch_one(&mut *other)
        .await
        .unwrap();
    assert_eq!(row, 1);
    let patience = Duration::from_millis(200);
    let asked = advisory(&name).ttl(LONG_TTL).wait_at_most(patience);
    let asked = tokio::spawn(asked.with(async |lease| Ok(lease.token())));
    sleep(patience * 5).await;
    other.commit().await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_lost_advisory_lock_stays_locked_until_the_body_has_dropped() {
    /// Its exit counts the sessions that have the lock, for half a second.
    #[async_context]
    async fn looking(
        pool: PgPool,
        name: String,
        seen: mpsc::UnboundedSender<usize>,
    ) -> Result<(), LeaseError<sqlx::Error>> {
        yield_!(());
        for _ in 0..50 {
            seen.send(sessions(&pool, &name, true).await.len()).ok();
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    let _tables = postgres_store().await;
    let (pool, name) = (pool().await, name());
    let (sender, mut seen) = mpsc::unbounded_channel();
    let body = async |lease: &mut Lease| {
        let inner = looking(pool.clone(), name.clone(), sender.clone());
        inner
            .with_local(async |()| {
                // The holder stands still for longer than it is sure, but not for the whole ttl.
                std::thread::sleep(Duration::from_millis(1_500));
                assert!(!lease.is_sure());
                pending::<Result<(), _>>().await
            })
            .await
    };
    let lock = advisory(&name)
        .ttl(Duration::from_secs(10))
        .margin(Duration::from_secs(9));
    let result = lock.with_local(body).await;
    assert!(matches!(result, Err(LeaseError::Lost)), "{result:?}");
    let mut counts = Vec::new();
    while let Ok(count) = seen.try_recv() {
        counts.push(count);
    }
    assert_eq!(counts, [1; 50]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_session_of_an_advisory_lock_lasts_for_as_long_as_the_body_runs() {
    let _tables = postgres_store().await;
    let (pool, name) = (pool().await, name());
    let ttl = Duration::from_millis(900);
    let body = async |lease: &mut Lease| {
        let before = sessions(&pool, &name, true).await;
        sleep(ttl * 3).await;
        assert!(lease.is_sure());
        assert_eq!(sessions(&pool, &name, true).await, before);
        Ok(())
    };
    advisory(&name).ttl(ttl).with_local(body).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_session_that_is_gone_ends_the_body_of_its_advisory_lock() {
    let _tables = postgres_store().await;
    let (pool, name) = (pool().await, name());
    let body = async |_: &mut Lease| {
        let session = sessions(&pool, &name, true).await[0];
        let end = sqlx::query("SELECT pg_terminate_backend($1)").bind(session);
        end.execute(&pool).await?;
        pending::<Result<(), _>>().await
    };
    let result = advisory(&name).with(body).await;
    assert!(matches!(result, Err(LeaseError::Lost)), "{result:?}");
}

/// A holder that is stopped: it blocks its thread, and so nothing is sent. The server ends it.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn an_advisory_lock_whose_holder_stands_still_is_the_next_one_s_after_the_ttl() {
    let _tables = postgres_store().await;
    let name = name();
    let ttl = Duration::from_millis(500);
    let (next, came) = (name.clone(), Arc::new(AtomicU64::new(0)));
    let token = Arc::clone(&came);
    let body = async move |lease: &mut Lease| {
        let first = lease.token();
        let next = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let begun = Instant::now();
            let next = advisory(&next).with(async |lease| Ok(lease.token()));
            let next = runtime.block_on(next).expect("the lock is free at last");
            token.store(next, Ordering::SeqCst);
            begun.elapsed()
        });
        let waited = next.join().expect("it does not panic");
        assert!(waited > ttl / 2, "{waited:?}");
        assert!(!lease.is_sure());
        assert!(came.load(Ordering::SeqCst) > first);
        pending::<Result<(), _>>().await
    };
    let result = advisory(&name).ttl(ttl).with_local(body).await;
    assert!(matches!(result, Err(LeaseError::Lost)), "{result:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_wait_for_an_advisory_lock_that_is_dropped_leaves_no_session() {
    let _tables = postgres_store().await;
    let (pool, name) = (pool().await, name());
    let held = advisory(&name).guard().await.unwrap();
    let waits = tokio::spawn(advisory(&name).with(async |_| Ok(())));
    while sessions(&pool, &name, false).await.is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    waits.abort();
    // The server looks once a second; the lock is held all the time.
    while !sessions(&pool, &name, false).await.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sessions(&pool, &name, true).await.len(), 1);
    Guard::close(held).await.unwrap();
    assert!(sessions(&pool, &name, true).await.is_empty());
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_key_that_is_gone_ends_the_body() {
    let store = redis_store().await;
    let name = name();
    let client = redis::Client::open(url_of("REDIS_URL")).expect("a URL of Redis");
    let mut other = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let key = format!("{{{name}}}:lease");
    let body = async move |_: &mut Lease| {
        let command = redis::cmd("DEL")
            .arg(&key)
            .query_async::<()>(&mut other)
            .await;
        command.expect("Redis answers");
        pending::<Result<(), _>>().await
    };
    let result = lease(store, name).ttl(TTL).with(body).await;
    assert!(matches!(result, Err(LeaseError::Lost)));
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_fence_refuses_an_older_token_also_while_a_newer_one_is_at_work() {
    let _tables = postgres_store().await;
    let (pool, resource) = (pool().await, name());
    let mut newer = pool.begin().await.unwrap();
    assert!(pass_fence(&mut *newer, &resource, 7).await.unwrap());
    // Whether it comes to the row before the commit or after, the row is the newer one's.
    let (other, same) = (pool.clone(), resource.clone());
    let older = tokio::spawn(async move { pass_fence(&other, &same, 6).await.unwrap() });
    assert!(pass_fence(&mut *newer, &resource, 7).await.unwrap());
    newer.commit().await.unwrap();
    assert!(
        !older.await.unwrap(),
        "it waited for the newer one, and is refused"
    );
    assert!(!pass_fence(&pool, &resource, 6).await.unwrap());
    assert!(pass_fence(&pool, &resource, 8).await.unwrap());
    assert!(!pass_fence(&pool, &resource, 7).await.unwrap());
}
