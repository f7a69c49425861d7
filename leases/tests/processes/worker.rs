//! One of the processes: adds to the counter whenever it has the lease.

use std::error::Error;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_context_leases::{
    Lease, LeaseError, NatsStore, PostgresStore, RedisStore, Store, advisory_lock, lease,
};
use async_context_manager::{detached, prelude::*, report};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redis::aio::ConnectionManagerConfig;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::own_server::{self, Kind};
use crate::place::{Answer, Kind as Say, Visitor};
use crate::{MARGIN, NAME, TTL};

/// The environment variable by which a program is one of the processes.
pub(crate) const VARIABLE: &str = "LEASES_PROCESS";

/// At most so long does a client wait for its server.
const PATIENCE: Duration = Duration::from_millis(400);

/// A holder at the counter. It says goodbye however the body ends.
struct Inside<'a> {
    visitor: &'a Visitor,
    lease: &'a Lease,
    sure_until: Mutex<Instant>,
}

impl<'a> Inside<'a> {
    fn new(visitor: &'a Visitor, lease: &'a Lease) -> Self {
        Self {
            visitor,
            lease,
            sure_until: Mutex::new(lease.sure_until()),
        }
    }

    async fn work(&self, time: Duration) {
        let ends = Instant::now() + time;
        while Instant::now() < ends {
            sleep((ends - Instant::now()).min(Duration::from_millis(20))).await;
            *self.sure_until.lock().unwrap() = self.lease.sure_until();
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // Not as of now: a holder that has lost its lease is sure until the moment that it found
        // out.
        let is_late = Instant::now() > *self.sure_until.lock().unwrap() + MARGIN;
        self.visitor
            .say(Say::Leave, self.lease.token(), is_late.into());
    }
}

/// What has become of a turn.
enum Turn {
    Added,
    Refused,
    Done,
}

/// Takes turns until the counter is where it has to get to.
async fn turns<C, E>(visitor: Arc<Visitor>, mut random: StdRng, context: impl Fn(u64) -> C)
where
    C: AsyncContext<Value = Lease, Error = LeaseError<E>, Verdict = ()> + 'static,
    E: Error + Send + Sync + 'static,
{
    loop {
        let (enters, has_entered) = oneshot::channel();
        let time = match random.random_range(0..100) {
            0 => TTL * 3 / 2,
            1..50 => Duration::ZERO,
            _ => Duration::from_micros(random.random_range(0..3_000)),
        };
        let at = Arc::clone(&visitor);
        let body = async move |lease: &mut Lease| {
            let token = lease.token();
            let _ = enters.send(());
            let (answer, value) = at.say(Say::Enter, token, 0);
            let here = Inside::new(&at, lease);
            match answer {
                Answer::Yes => here.work(time).await,
                Answer::AwaitFirst => here.work(TTL).await,
                Answer::WriteAtOnce => {}
                Answer::Refused => return Ok(Turn::Refused),
                Answer::Done => return Ok(Turn::Done),
            }
            Ok(match at.say(Say::Write, token, value + 1) {
                (Answer::Yes, _) => Turn::Added,
                _ => Turn::Refused,
            })
        };
        let turn = context(random.random()).with(body);
        let soon = Duration::from_micros(random.random_range(0..20_000));
        // Some turns are given up at a moment that counts from the begin of the body.
        let (limit, inside) = match random.random_range(0..6) {
            0 | 1 => (soon, Duration::MAX),
            2 => (Duration::MAX, soon / 10),
            _ => (Duration::MAX, Duration::MAX),
        };
        let mut has_begun = false;
        let ends_inside = async {
            if has_entered.await.is_ok() {
                has_begun = true;
                sleep(inside).await;
            } else {
                pending::<()>().await; // the turn tells why
            }
        };
        let given_up = async {
            let _ = timeout(limit, ends_inside).await;
        };
        let ended = tokio::select! {
            ended = turn => Ok(ended),
            () = given_up => Err(()),
        };
        match ended {
            Ok(Ok(Turn::Added | Turn::Refused)) => {}
            Ok(Ok(Turn::Done)) => return,
            Ok(Err(LeaseError::Lost)) => {
                visitor.say(Say::Lost, 0, 0);
            }
            // The server is down, or has just come up again.
            Ok(Err(_)) => {
                visitor.say(Say::Failed, 0, 0);
                sleep(Duration::from_millis(50)).await;
            }
            Err(()) if has_begun => {
                visitor.say(Say::GivenUpInside, 0, 0);
            }
            Err(()) => {
                visitor.say(Say::GivenUpWaiting, 0, 0);
            }
        }
    }
}

async fn leases<S: Store + Clone>(visitor: Arc<Visitor>, random: StdRng, store: S) {
    let context = |seed| {
        lease(store.clone(), NAME)
            .ttl(TTL)
            .margin(MARGIN)
            .backoff(Duration::from_millis(1), Duration::from_millis(20))
            .seed(seed)
    };
    turns(visitor, random, context).await;
}

/// `orders`: the kind of server, the counter's address, a number, and the server's URL.
pub(crate) fn run(orders: &str) {
    let words: Vec<_> = orders.split(' ').collect();
    let [kind, address, number, url] = words[..] else {
        panic!("{orders}");
    };
    // Exits fail while the server is down. Nobody waits for those of turns that were given up.
    report::set_hook(|_| {});
    let visitor = Arc::new(Visitor::new(address).unwrap());
    let random = StdRng::seed_from_u64(number.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match Kind::parse(kind) {
            Kind::Redis => leases(visitor, random, redis(url).await).await,
            Kind::Postgres => leases(visitor, random, postgres(url).await).await,
            Kind::Nats => leases(visitor, random, nats(url).await).await,
            Kind::Advisory => {
                let server: PgConnectOptions = url.parse().unwrap();
                let context = |_| advisory_lock(server.clone(), NAME).ttl(TTL).margin(MARGIN);
                turns(visitor, random, context).await;
            }
        }
        detached::drain().await;
    });
}

async fn redis(url: &str) -> RedisStore<redis::aio::ConnectionManager> {
    let client = redis::Client::open(url).unwrap();
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(PATIENCE))
        .set_connection_timeout(Some(PATIENCE))
        .set_number_of_retries(1);
    let connection = client.get_connection_manager_with_config(config).await;
    RedisStore::new(connection.unwrap())
}

async fn postgres(url: &str) -> PostgresStore {
    let pool = PgPoolOptions::new()
        .max_connections(3)
        .acquire_timeout(PATIENCE)
        .connect(url)
        .await;
    PostgresStore::new(pool.unwrap())
}

async fn nats(url: &str) -> NatsStore {
    let bucket = own_server::bucket(url).await;
    NatsStore::new(bucket.unwrap()).unwrap()
}
