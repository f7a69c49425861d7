#![forbid(unsafe_code)]
//! Leases under paused time, on a store in this process.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_context_leases::{
    Lease, LeaseError, MemoryStore, Store as _, Unreachable, leading, lease, try_lease,
};
use async_context_manager::prelude::*;
use async_context_manager::report;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, sleep_until, timeout};

const TTL: Duration = Duration::from_secs(10);

type Outcome<R> = Result<R, LeaseError<Unreachable>>;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_second_holder_waits_its_turn() {
    let store = MemoryStore::new();
    let first = lease(store.clone(), "n").guard().await.unwrap();
    let begun = Instant::now();
    let second = tokio::spawn(lease(store, "n").with(async |lease| Ok(lease.token())));
    sleep(seconds(60)).await;
    assert!(!second.is_finished());
    Guard::close(first).await.unwrap();
    assert_eq!(second.await.unwrap(), Ok(2));
    assert!(begun.elapsed() < seconds(61));
}

/// Its exit takes a minute.
#[async_context]
async fn slow() -> Outcome<()> {
    yield_!(());
    sleep(seconds(60)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_while_the_exit_waits_for_its_turn_fails_the_exit() {
    let store = MemoryStore::new();
    let link = store.clone();
    let body = async move |_: &mut Lease| {
        drop(slow().guard().await?); // the exit of the lease waits for this one
        link.forget("n");
        Ok(())
    };
    let held = lease(store, "n").ttl(TTL).with(body).await;
    assert_eq!(held, Err(LeaseError::Lost));
}

#[tokio::test(start_paused = true)]
async fn the_exit_of_a_completed_body_tells_of_a_loss_even_by_hand() {
    let store = MemoryStore::new();
    for (outcome, told) in [
        (
            async_context_manager::Outcome::Completed,
            Err(LeaseError::Lost),
        ),
        (async_context_manager::Outcome::Cancelled, Ok(())),
    ] {
        let mut context = lease(store.clone(), "n").ttl(TTL);
        let value = context.enter().await.unwrap();
        store.forget("n");
        assert_eq!(context.beside().await, Err(LeaseError::Lost));
        assert_eq!(context.beside().await, Ok(()));
        assert_eq!(context.exit(value, &outcome).await, told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_granted_late_is_renewed_in_time() {
    let (store, mut requests) = (MemoryStore::new(), 0);
    store.delay(move || {
        requests += 1;
        (seconds(0), seconds(if requests == 1 { 7 } else { 0 }))
    });
    let body = async |lease: &mut Lease| {
        sleep(seconds(60)).await;
        Ok(lease.is_sure())
    };
    assert_eq!(lease(store, "n").ttl(TTL).with(body).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_in_time_whatever_its_margin() {
    for margin in [0, 3, 6, 7, 8, 9, 10, 100] {
        let lease = lease(MemoryStore::new(), "n")
            .ttl(TTL)
            .margin(seconds(margin));
        let body = async |lease: &mut Lease| {
            sleep(seconds(60)).await;
            assert!(lease.is_sure());
            Ok(())
        };
        assert_eq!(lease.with(body).await, Ok(()), "{margin}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_delays_of_a_store_may_change_the_connection() {
    let store = MemoryStore::new();
    let (link, mut requests) = (store.clone(), 0);
    store.delay(move || {
        requests += 1;
        if requests == 2 {
            link.refuse();
            link.delay(|| (seconds(1), seconds(1)));
        }
        (seconds(2), seconds(0))
    });
    let begun = Instant::now();
    assert_eq!(store.current("n").await, Ok(None));
    assert_eq!(store.current("n").await, Err(Unreachable));
    assert_eq!(begun.elapsed(), seconds(4));
    store.mend();
    assert_eq!(store.current("n").await, Ok(None));
    assert_eq!(begun.elapsed(), seconds(6));
}

#[tokio::test(start_paused = true)]
async fn names_do_not_wait_for_each_other() {
    let store = MemoryStore::new();
    let first = try_lease(store.clone(), "a").guard().await.unwrap();
    let second = try_lease(store, "b").guard().await.unwrap();
    Guard::close(second).await.unwrap();
    Guard::close(first).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bounded_wait_ends_when_it_says() {
    let store = MemoryStore::new();
    let first = lease(store.clone(), "n").guard().await.unwrap();
    let begun = Instant::now();
    let second = lease(store, "n").wait_at_most(seconds(7));
    let result = second.with(async |_| Ok(())).await;
    assert_eq!(result, Err(LeaseError::Held));
    assert_eq!(begun.elapsed().as_secs(), 7);
    Guard::close(first).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_for_as_long_as_the_body_runs() {
    let store = MemoryStore::new();
    let other = store.connect();
    let body = async move |lease: &mut Lease| {
        for _ in 0..100 {
            sleep(seconds(1)).await;
            assert!(lease.is_sure());
            assert_eq!(other.current("n").await, Ok(Some(lease.token())));
        }
        Ok(())
    };
    assert_eq!(lease(store.clone(), "n").ttl(TTL).with(body).await, Ok(()));
    assert_eq!(store.current("n").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_for_a_while_do_not_end_the_body() {
    let store = MemoryStore::new();
    let link = store.clone();
    let body = async move |_: &mut Lease| {
        for cut in [true, false, true, false] {
            if cut {
                link.cut();
            } else {
                link.refuse();
            }
            sleep(seconds(4)).await;
            link.mend();
            sleep(seconds(8)).await;
        }
        Ok(())
    };
    assert_eq!(lease(store, "n").ttl(TTL).with(body).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_ends_the_body_before_the_lease_is_over() {
    for refuses in [false, true] {
        let store = MemoryStore::new();
        let (link, other) = (store.clone(), store.connect());
        let (ended, has_ended) = oneshot::channel::<()>();
        let body = async move |lease: &mut Lease| {
            let _ended = ended; // dropped with the body
            if refuses {
                link.refuse();
            } else {
                link.cut();
            }
            let _: u64 = lease.token();
            pending::<Outcome<()>>().await
        };
        let begun = Instant::now();
        let first = tokio::spawn(lease(store, "n").ttl(TTL).with(body));
        let _ = has_ended.await;
        assert_eq!(begun.elapsed().as_secs(), 9);
        assert_eq!(other.current("n").await, Ok(Some(1)), "still nobody else's");
        assert_eq!(first.await.unwrap(), Err(LeaseError::Lost));
        assert_eq!(begun.elapsed().as_secs(), 9, "nothing is released");
        sleep(seconds(1)).await;
        assert_eq!(other.current("n").await, Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_the_lease_ends_the_body_at_the_next_renewal() {
    let store = MemoryStore::new();
    let server = store.clone();
    let begun = Instant::now();
    let body = async move |_: &mut Lease| {
        server.forget("n");
        pending::<Outcome<()>>().await
    };
    let result = lease(store, "n").ttl(TTL).with(body).await;
    assert_eq!(result, Err(LeaseError::Lost));
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_completes_after_its_lease_was_lost_fails() {
    let store = MemoryStore::new();
    let server = store.clone();
    let body = async move |_: &mut Lease| {
        server.forget("n");
        Ok(())
    };
    assert_eq!(lease(store, "n").with(body).await, Err(LeaseError::Lost));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_not_released() {
    let store = MemoryStore::new();
    let (server, other) = (store.clone(), store.connect());
    let body = async move |_: &mut Lease| {
        server.forget("n");
        // Another process takes it before the first one finds out.
        let taken = try_lease(other.clone(), "n").guard().await.unwrap();
        std::mem::forget(taken);
        pending::<Outcome<()>>().await
    };
    assert_eq!(
        lease(store.clone(), "n").ttl(TTL).with(body).await,
        Err(LeaseError::Lost)
    );
    assert_eq!(store.current("n").await, Ok(Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_is_the_error_of_the_exit() {
    let store = MemoryStore::new();
    let link = store.clone();
    let body = async move |_: &mut Lease| {
        link.refuse();
        Ok(1)
    };
    let result = lease(store.clone(), "n").try_with(body).await;
    let error = LeaseError::Store(Unreachable);
    assert_eq!(result, Err(Failure::Exit { value: 1, error }));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_hangs_nobody() {
    let store = MemoryStore::new();
    store.cut();
    let begun = Instant::now();
    let result = lease(store.clone(), "n")
        .ttl(TTL)
        .with(async |_| Ok(()))
        .await;
    assert_eq!(result, Err(LeaseError::NoAnswer));
    assert_eq!(begun.elapsed(), seconds(10));

    store.mend();
    let link = store.clone();
    let body = async move |_: &mut Lease| {
        link.cut();
        Ok(())
    };
    let result = lease(store, "n").ttl(TTL).with(body).await;
    assert_eq!(result, Err(LeaseError::NoAnswer));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_is_no_lease() {
    let store = MemoryStore::new();
    store.delay(|| (Duration::ZERO, TTL));
    let result = lease(store.clone(), "n")
        .ttl(TTL)
        .with(async |_| Ok(()))
        .await;
    assert_eq!(result, Err(LeaseError::NoAnswer));
    assert_eq!(store.connect().current("n").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_when_it_was_sent() {
    let store = MemoryStore::new();
    let link = store.clone();
    let begun = Instant::now();
    let body = async move |_: &mut Lease| {
        link.delay(|| (Duration::ZERO, seconds(3)));
        sleep(seconds(7)).await; // one renewal was sent after 3.3 s, and answered after 6.3 s
        link.cut();
        pending::<Outcome<()>>().await
    };
    let result = lease(store, "n").ttl(seconds(10)).with(body).await;
    assert_eq!(result, Err(LeaseError::Lost));
    assert_eq!(begun.elapsed().as_secs(), 12); // 3.3 s, the ttl, and less a margin of a second
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_does_not_take_an_old_answer_for_a_lease() {
    let store = MemoryStore::new();
    store.delay(|| (Duration::ZERO, seconds(1)));
    let work = tokio::spawn(lease(store, "n").ttl(TTL).with(async |_| Ok(())));
    tokio::task::yield_now().await;
    advance(seconds(20)).await;
    assert_eq!(work.await.unwrap(), Err(LeaseError::NoAnswer));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_stopped_finds_out_when_it_goes_on() {
    let store = MemoryStore::new();
    let body = async move |lease: &mut Lease| {
        advance(seconds(20)).await;
        assert!(!lease.is_sure());
        pending::<Outcome<()>>().await
    };
    let begun = Instant::now();
    let result = lease(store, "n").ttl(TTL).with(body).await;
    assert_eq!(result, Err(LeaseError::Lost));
    assert_eq!(begun.elapsed(), seconds(20));
}

#[tokio::test(start_paused = true)]
async fn the_first_leader_is_cut_off_and_the_second_one_leads() {
    let store = MemoryStore::new();
    let other = store.connect();
    let leaders = Arc::new(AtomicUsize::new(0));
    let work = |link: MemoryStore, leaders: Arc<AtomicUsize>| {
        async move |lease: &mut Lease| {
            let _alone = Alone::new(&leaders);
            if lease.token() <= 3 {
                link.cut();
                pending::<()>().await;
            }
            sleep(seconds(1)).await;
            Ok(lease.token())
        }
    };
    let first = tokio::spawn(leading(
        store.clone(),
        "n",
        work(store.clone(), Arc::clone(&leaders)),
    ));
    sleep(seconds(1)).await;
    let second = tokio::spawn(leading(other.clone(), "n", work(other.clone(), leaders)));
    sleep(seconds(12)).await; // the first has lost it, and the second leads
    assert_eq!(store.connect().current("n").await, Ok(Some(2)));
    store.mend();
    sleep(seconds(12)).await;
    assert_eq!(store.connect().current("n").await, Ok(Some(3)));
    other.mend();
    sleep(seconds(12)).await;
    store.mend();
    let mut tokens = [
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    ];
    tokens.sort_unstable();
    assert_eq!(tokens, [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn work_that_fails_by_itself_is_not_run_again() {
    let store = MemoryStore::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&runs);
    let work = async move |_: &mut Lease| {
        counter.fetch_add(1, Ordering::Relaxed);
        Err::<(), _>(LeaseError::Store(Unreachable))
    };
    let result = leading(store.clone(), "n", work).await;
    assert_eq!(result, Err(LeaseError::Store(Unreachable)));
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert_eq!(store.current("n").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn leading_asks_a_store_again_that_fails() {
    let store = MemoryStore::new();
    store.refuse();
    let work = async |lease: &mut Lease| Ok(lease.token());
    let result = tokio::spawn(leading(store.clone(), "n", work));
    sleep(seconds(60)).await;
    assert!(!result.is_finished());
    store.mend();
    assert_eq!(result.await.unwrap(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_dropped_releases_the_lease() {
    let store = MemoryStore::new();
    let work = async |_: &mut Lease| pending::<Outcome<()>>().await;
    assert!(
        timeout(seconds(60), leading(store.clone(), "n", work))
            .await
            .is_err()
    );
    sleep(seconds(1)).await;
    assert_eq!(store.current("n").await, Ok(None));
}

/// A body that is alone among those who count with the same number.
struct Alone(Arc<AtomicUsize>);

impl Alone {
    fn new(inside: &Arc<AtomicUsize>) -> Self {
        let others = inside.fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "somebody else believes that the lease is held");
        Self(Arc::clone(inside))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the runs of the model have seen.
#[derive(Debug, Default)]
struct Seen {
    held: AtomicU64,
    lost: AtomicU64,
    late_answers: AtomicU64,
    cuts: AtomicU64,
    refusals: AtomicU64,
    stops: AtomicU64,
    /// Holders that others came after while they were stopped.
    overtaken: AtomicU64,
}

/// What the lease protects, and who is at it.
#[derive(Debug, Default)]
struct Place {
    inside: BTreeMap<u64, Presence>,
    highest: u64,
}

/// A holder, as of the last moment that its process was not stopped.
#[derive(Debug, Clone, Copy)]
struct Presence {
    number: usize,
    sure_until: Instant,
}

/// A holder at the place.
struct Here {
    place: Arc<Mutex<Place>>,
    token: u64,
}

impl Here {
    /// Comes in. Whoever is inside has to be stopped, and its time has to be over.
    fn new(number: usize, lease: &Lease, place: &Arc<Mutex<Place>>, world: &World) -> Self {
        let (token, now) = (lease.token(), Instant::now());
        let mut at = place.lock().unwrap();
        assert!(at.highest < token, "the token grows");
        at.highest = token;
        for other in at.inside.values() {
            assert!(
                world.is_stopped(other.number) && other.sure_until <= now,
                "{number} comes in, and {other:?} is there"
            );
            world.seen.overtaken.fetch_add(1, Ordering::Relaxed);
        }
        let sure_until = lease.sure_until();
        at.inside.insert(token, Presence { number, sure_until });
        let place = Arc::clone(place);
        Self { place, token }
    }

    /// Notes that the holder is at work.
    fn work(&self, lease: &Lease) {
        let mut at = self.place.lock().unwrap();
        if lease.is_sure() {
            assert_eq!(at.highest, self.token, "somebody else came after it");
        }
        let presence = at.inside.get_mut(&self.token).expect("it is inside");
        presence.sure_until = lease.sure_until();
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        // A failed check has its own message.
        if let Ok(mut at) = self.place.lock() {
            at.inside.remove(&self.token);
        }
    }
}

/// What the processes of a run share, beside the store.
#[derive(Debug, Default)]
struct World {
    seen: Arc<Seen>,
    /// Until when each process is stopped.
    stopped: Mutex<[Option<Instant>; 3]>,
}

impl World {
    fn is_stopped(&self, number: usize) -> bool {
        self.stopped.lock().unwrap()[number].is_some()
    }
}

/// A process that may be stopped: while it is, nothing in it is polled. When it goes on, its clock
/// has jumped.
async fn stoppable<R>(
    number: usize,
    world: &World,
    mut random: StdRng,
    work: impl Future<Output = R>,
) -> R {
    let mut work = pin!(work);
    loop {
        let runs = Duration::from_millis(random.random_range(0..60_000));
        if let Ok(result) = timeout(runs, &mut work).await {
            return result;
        }
        let until = Instant::now() + Duration::from_millis(random.random_range(0..20_000));
        world.stopped.lock().unwrap()[number] = Some(until);
        world.seen.stops.fetch_add(1, Ordering::Relaxed);
        sleep_until(until).await;
        // The first thing that it does when it goes on is what it was about to do.
        let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        world.stopped.lock().unwrap()[number] = None;
        if let Poll::Ready(result) = first {
            return result;
        }
    }
}

/// A process that takes the lease, works, and gives it back, while its connection is slow, cut
/// and mended, and while it is stopped and goes on.
async fn process(
    seed: u64,
    number: usize,
    store: MemoryStore,
    place: Arc<Mutex<Place>>,
    world: Arc<World>,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut delays = StdRng::seed_from_u64(seed + 1);
    let mut slowness = || [5, 50, 3_000, 8_000][random.random_range(0..4)];
    let (to, from) = (slowness(), slowness());
    let facts = Arc::clone(&world.seen);
    store.delay(move || {
        let mut way = |slowness| Duration::from_millis(delays.random_range(0..=slowness));
        let (to, from) = (way(to), way(from));
        if to + from >= TTL * 9 / 10 {
            facts.late_answers.fetch_add(1, Ordering::Relaxed);
        }
        (to, from)
    });
    let link = store.clone();
    let mut weather = StdRng::seed_from_u64(seed + 2);
    let facts = Arc::clone(&world.seen);
    let trouble = async move {
        loop {
            sleep(Duration::from_millis(weather.random_range(0..40_000))).await;
            if weather.random_bool(0.7) {
                facts.cuts.fetch_add(1, Ordering::Relaxed);
                link.cut();
            } else {
                facts.refusals.fetch_add(1, Ordering::Relaxed);
                link.refuse();
            }
            sleep(Duration::from_millis(weather.random_range(0..20_000))).await;
            link.mend();
        }
    };
    let stops = StdRng::seed_from_u64(seed + 3);
    let work = async {
        for _ in 0..10 {
            let time = Duration::from_millis(random.random_range(0..30_000));
            let (place, inside) = (Arc::clone(&place), Arc::clone(&world));
            let body = async move |lease: &mut Lease| {
                let here = Here::new(number, lease, &place, &inside);
                inside.seen.held.fetch_add(1, Ordering::Relaxed);
                let ends = Instant::now() + time;
                while Instant::now() < ends {
                    sleep(Duration::from_millis(500)).await;
                    here.work(lease);
                }
                Ok(())
            };
            let lease = lease(store.clone(), "n").ttl(TTL).seed(random.random());
            let patience = Duration::from_millis(random.random_range(0..120_000));
            if timeout(patience, lease.with(body)).await == Ok(Err(LeaseError::Lost)) {
                world.seen.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    tokio::select! {
        () = stoppable(number, &world, stops, work) => {}
        () = trouble => {}
    }
    world.stopped.lock().unwrap()[number] = None;
    store.mend();
}

#[test]
fn at_no_moment_do_two_holders_believe_that_they_hold() {
    // Nobody waits for the exits of this test, and most of them fail.
    report::set_hook(|_| {});
    let seen = Arc::new(Seen::default());
    let count = std::env::var("SCHEDULES").map_or(500, |count| count.parse().expect("a number"));
    for seed in 0..count {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let store = MemoryStore::new();
            let place = Arc::default();
            let stopped = Mutex::default();
            let seen = Arc::clone(&seen);
            let world = Arc::new(World { seen, stopped });
            let mut processes = JoinSet::new();
            for number in 0..3 {
                let store = store.connect();
                let (place, world) = (Arc::clone(&place), Arc::clone(&world));
                let own = seed * 100 + number as u64 * 10;
                processes.spawn(process(own, number, store, place, world));
            }
            while let Some(ended) = processes.join_next().await {
                ended.unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
            }
            // What exits in the background may still talk to the store, and its
            // lease ends by its ttl.
            sleep(TTL * 4).await;
            assert_eq!(store.current("n").await, Ok(None), "SEED={seed}");
        });
    }
    println!("{seen:?}");
    assert!(seen.held.load(Ordering::Relaxed) > count);
    let Seen {
        lost,
        late_answers,
        cuts,
        refusals,
        stops,
        overtaken,
        ..
    } = &*seen;
    for kind in [lost, late_answers, cuts, refusals, stops, overtaken] {
        assert!(kind.load(Ordering::Relaxed) > 0, "{seen:?}");
    }
}
