//! What bounds the exits in the background: how many there may be, how long each may take, and
//! force.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_context_manager::observe::Activity;
use async_context_manager::report::Kind;
use async_context_manager::{
    TimeoutError,
    contexts::{closing, defer},
    prelude::*,
};
use async_context_manager::{detached, report};
use futures::{FutureExt, poll};
use tests::{Ledger, Stage, everywhere, on_current_thread};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// While it is there, so many exits may be in the background, and each for so long.
struct Limits;

impl Limits {
    fn set(exits: usize, time: Duration) -> Self {
        detached::set_limit(exits);
        detached::set_exit_limit(time);
        Self
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        detached::set_limit(usize::MAX);
        detached::set_exit_limit(Duration::MAX);
        report::set_wait_limit(10 * SECOND);
    }
}

/// Its exit takes so long.
#[async_context]
async fn slow(exit: Duration) -> Result<(), String> {
    let ((), _) = yield_!(());
    sleep(exit).await;
    Ok(())
}

#[async_context]
async fn stuck(ledger: Ledger, name: &'static str) -> Result<(), String> {
    let ((), _) = yield_!(());
    ledger.note(format!("begin {name}"));
    pending::<()>().await;
    Ok(())
}

#[async_context]
async fn noted(ledger: Ledger, name: &'static str) -> Result<(), String> {
    let ((), _) = yield_!(());
    ledger.note(format!("exit {name}"));
    Ok(())
}

#[async_context]
async fn slow_to_enter() -> Result<(), String> {
    sleep(SECOND).await;
    let ((), _) = yield_!(());
    Ok(())
}

async fn leave(context: impl AsyncContext<Error = String> + 'static) {
    // In a task of its own, which holds nothing.
    tokio::spawn(async { drop(context.guard().await) })
        .await
        .expect("no panic");
}

/// Its exit takes so long, and something runs beside its body.
#[async_context]
async fn slow_lease(exit: Duration) -> Result<(), String> {
    let ((), _) = yield_!((), pending());
    sleep(exit).await;
    Ok(())
}

#[test]
fn a_limit_of_zero_lets_one_exit_after_the_other_be_in_the_background() {
    on_current_thread(async |stage| {
        let _limits = Limits::set(0, Duration::MAX);
        noted(Ledger::default(), "first")
            .with(async |()| Ok(()))
            .await
            .expect("there is room for it");
        leave(slow(SECOND)).await;
        let begun = Instant::now();
        let next = noted(Ledger::default(), "next").with(async |()| Ok(()));
        assert_eq!(next.await, Ok(()));
        assert_eq!(begun.elapsed(), SECOND);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn an_exit_with_a_limit_of_its_own_keeps_that_limit_as_a_part_and_with_something_beside() {
    on_current_thread(async |stage| {
        let _limits = Limits::set(usize::MAX, SECOND);
        let of_its_own = 60 * SECOND;
        let begun = Instant::now();
        drop(
            Some(slow(5 * SECOND).exit_timeout(of_its_own))
                .guard()
                .await,
        );
        drop(
            slow_lease(5 * SECOND)
                .exit_timeout(of_its_own)
                .guard()
                .await,
        );
        let stack = ExitStack::<TimeoutError<String>>::new();
        let lease = slow_lease(5 * SECOND).exit_timeout(of_its_own);
        drop(stack.enter(lease).await);
        detached::drain().await;
        assert_eq!(begun.elapsed(), 5 * SECOND);
        assert_eq!(stage.reports(), []);
        drop(stack);
        detached::drain().await;
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_new_limit_holds_for_exits_that_run_in_the_background_already() {
    /// Its exit has steps.
    #[async_context]
    async fn stepping() -> Result<(), String> {
        let ((), _) = yield_!(());
        for _ in 0..20 {
            sleep(SECOND).await;
        }
        Ok(())
    }

    on_current_thread(async |stage| {
        for (before, after, ends) in [(3, 60, 20), (3_600, 5, 5), (3_600, 1, 2)] {
            let _limits = Limits::set(usize::MAX, before * SECOND);
            let begun = Instant::now();
            drop(stepping().guard().await);
            sleep(SECOND + SECOND / 2).await;
            detached::set_exit_limit(after * SECOND);
            detached::drain().await;
            assert_eq!(begun.elapsed().as_secs(), ends, "{before}, {after}");
            let is_cut_off = after < 20;
            assert_eq!(stage.reports().len(), usize::from(is_cut_off));
        }
    });
}

#[test]
fn with_as_many_exits_in_the_background_as_the_limit_allows_the_next_enter_waits() {
    on_current_thread(async |_| {
        let _limits = Limits::set(2, Duration::MAX);
        let begun = Instant::now();
        leave(slow(3 * SECOND)).await;
        leave(slow(5 * SECOND)).await;
        assert_eq!((begun.elapsed(), detached::count()), (Duration::ZERO, 2));
        slow(Duration::ZERO)
            .with(async |()| Ok(()))
            .await
            .expect("no error");
        assert_eq!(begun.elapsed(), 3 * SECOND);
    });
}

#[test]
fn enters_that_wait_are_let_in_in_order_and_the_next_one_when_the_one_before_has_entered() {
    #[async_context]
    async fn noted_enter(ledger: Ledger, name: &'static str) -> Result<(), String> {
        ledger.note(name);
        sleep(SECOND).await;
        let ((), _) = yield_!(());
        Ok(())
    }

    on_current_thread(async |_| {
        let _limits = Limits::set(1, Duration::MAX);
        let ledger = Ledger::default();
        leave(slow(3 * SECOND)).await;
        let begun = Instant::now();
        let mut tasks = Vec::new();
        for name in ["first", "second", "third"] {
            let context = noted_enter(ledger.clone(), name);
            tasks.push(tokio::spawn(context.with(async |()| Ok(Instant::now()))));
        }
        let mut entered = Vec::new();
        for task in tasks {
            let at = task.await.expect("no panic").expect("no error");
            entered.push((at - begun).as_secs());
        }
        assert_eq!(entered, [4, 5, 6]);
        assert_eq!(ledger.lines(), ["first", "second", "third"]);
    });
}

#[test]
fn an_enter_that_waits_leaves_nothing_behind_when_it_is_dropped() {
    everywhere(async |_| {
        let _limits = Limits::set(1, Duration::MAX);
        let (exit, exited) = oneshot::channel::<()>();
        leave(closing(exited, async |exited: oneshot::Receiver<()>| {
            let _ = exited.await;
            Ok::<_, String>(())
        }))
        .await;
        let ledger = Ledger::default();
        let mut given_up = Box::pin(noted(ledger.clone(), "a").with(async |()| Ok(())));
        let mut next = Box::pin(noted(ledger.clone(), "b").with(async |()| Ok(())));
        assert!(poll!(&mut given_up).is_pending());
        assert!(poll!(&mut next).is_pending());
        drop(given_up);
        assert_eq!(detached::count(), 1);
        assert_eq!(detached::list().len(), 1);
        exit.send(()).expect("it is exiting");
        next.await.expect("no error");
        assert_eq!(ledger.lines(), ["exit b"]);
    });
}

#[test]
fn one_that_is_let_in_and_dropped_lets_the_next_one_in() {
    on_current_thread(async |_| {
        let _limits = Limits::set(1, Duration::MAX);
        leave(slow(SECOND)).await;
        let mut let_in = Box::pin(slow(SECOND).with(async |()| Ok(())));
        assert!(poll!(&mut let_in).is_pending());
        let next = tokio::spawn(slow(Duration::ZERO).with(async |()| Ok(())));
        yield_now().await;
        detached::drain().await;
        // It has not been polled since.
        drop(let_in);
        let next = timeout(SECOND, next).await.expect("it is let in");
        next.expect("no panic").expect("no error");
    });
}

#[test]
fn what_is_inside_of_a_context_does_not_wait() {
    #[async_context]
    async fn opens_more(ledger: Ledger) -> Result<(), String> {
        let inner = noted(ledger.clone(), "opened in enter");
        inner.with(async |()| Ok(())).await?;
        let ((), _) = yield_!(());
        sleep(SECOND).await;
        noted(ledger, "opened in exit")
            .with(async |()| Ok(()))
            .await
    }

    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let limits = Limits::set(1, Duration::MAX);
        // In an exit in the background, which is the one that there may be.
        leave(opens_more(ledger.clone())).await;
        assert_eq!(detached::count(), 1);
        detached::drain().await;
        assert_eq!(
            ledger.lines(),
            ["exit opened in enter", "exit opened in exit"]
        );

        // In a body, in a task of `tasks`, in an awaited exit.
        drop(limits);
        let used = opens_more(ledger.clone()).with(async |()| {
            let _limits = Limits::set(1, Duration::MAX);
            leave(slow(9 * SECOND)).await;
            let begun = Instant::now();
            noted(ledger.clone(), "in a body")
                .with(async |()| Ok(()))
                .await?;
            let group = async_context_manager::tasks::<String>();
            let ledger = ledger.clone();
            let used = group.with(async |group| {
                group.spawn(noted(ledger, "in a task").with(async |()| Ok(())));
                Ok(())
            });
            used.await?;
            assert_eq!(begun.elapsed(), Duration::ZERO);
            Ok(())
        });
        used.await.expect("no error");
        detached::drain().await;
    });
}

#[test]
fn a_task_that_holds_a_guard_does_not_wait() {
    on_current_thread(async |_| {
        let _limits = Limits::set(1, Duration::MAX);
        let ledger = Ledger::default();
        let begun = Instant::now();
        let guard = noted(ledger.clone(), "held").guard().await;
        leave(slow(3 * SECOND)).await;
        let used = noted(ledger.clone(), "beside it").with(async |()| Ok(()));
        used.await.expect("no error");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        Guard::close(guard.expect("no error"))
            .await
            .expect("no error");
        let used = noted(ledger.clone(), "after it").with(async |()| Ok(()));
        used.await.expect("no error");
        assert_eq!(begun.elapsed(), 3 * SECOND);
    });
}

#[test]
fn a_stack_opens_at_once_and_its_first_enter_waits_unless_it_holds_something() {
    on_current_thread(async |_| {
        let _limits = Limits::set(1, Duration::MAX);
        leave(slow(3 * SECOND)).await;
        let begun = Instant::now();
        let holding = ExitStack::<String>::new();
        holding.defer(async |_: &Outcome| Ok(()));
        drop(holding.enter(slow(Duration::ZERO)).await.expect("no error"));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        holding.exit(Ok(())).await.expect("no error");
        let empty = ExitStack::<String>::new();
        drop(empty.enter(slow(Duration::ZERO)).await.expect("no error"));
        assert_eq!(begun.elapsed(), 3 * SECOND);
        empty.exit(Ok(())).await.expect("no error");
    });
}

#[test]
fn an_enter_that_waits_goes_in_when_its_task_comes_to_hold_a_guard() {
    on_current_thread(async |_| {
        let _limits = Limits::set(1, Duration::MAX);
        let (open, opened) = oneshot::channel();
        let late = tokio::spawn(async {
            let guard = slow(9 * SECOND).guard().await.expect("no error");
            open.send(()).expect("it is awaited");
            sleep(3 * SECOND + SECOND / 2).await;
            drop(guard);
        });
        opened.await.expect("it is sent");
        leave(slow(3 * SECOND)).await;
        let begun = Instant::now();
        // Both arms wait. When the first one is in, it needs the second one, and at its end there
        // is one more exit in the background.
        let (need, needed) = oneshot::channel();
        let holder = async {
            let guard = slow_to_enter().guard().await.expect("no error");
            needed.await.expect("it is sent");
            Guard::close(guard).await.expect("no error");
        };
        let other = async {
            let used = slow_to_enter().with(async |()| Ok(())).await;
            used.expect("no error");
            need.send(()).expect("it is awaited");
        };
        // Each with a waker of its own.
        let mut arms: futures::stream::FuturesUnordered<_> =
            [holder.boxed(), other.boxed()].into_iter().collect();
        while futures::StreamExt::next(&mut arms).await.is_some() {}
        assert_eq!(begun.elapsed(), 4 * SECOND);
        late.await.expect("no panic");
    });
}

#[test]
fn an_enter_that_waits_long_is_reported_with_the_oldest_exit_and_goes_in() {
    on_current_thread(async |_| {
        let _limits = Limits::set(1, Duration::MAX);
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        report::set_hook(move |report| {
            let line = (report.kind(), report.context(), report.waits_for());
            log.lock().expect("no panic").push(line);
        });
        leave(slow(15 * SECOND)).await;
        let begun = Instant::now();
        let ledger = Ledger::default();
        let used = noted(ledger, "a").with(async |()| Ok(())).await;
        report::reset_hook();
        used.expect("no error");
        assert_eq!(begun.elapsed(), 10 * SECOND);
        let told = told.lock().expect("no panic");
        let [(kind, name, other)] = told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(kind, Kind::LongWait);
        assert!(name.ends_with("::noted"));
        assert!(other.is_some_and(|other| other.ends_with("::slow")));
    });
}

#[test]
fn a_storm_of_enters_that_time_out_leaves_no_more_exits_than_the_limit_and_what_was_open() {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);

    #[async_context]
    async fn hangs() -> Result<(), String> {
        let open = OPEN.fetch_add(1, Ordering::Relaxed) + 1;
        MOST.fetch_max(open, Ordering::Relaxed);
        sleep(10 * SECOND).await;
        let ((), _) = yield_!(());
        OPEN.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    on_current_thread(async |_| {
        let _limits = Limits::set(100, Duration::MAX);
        report::set_wait_limit(Duration::MAX);
        let mut requests = Vec::new();
        for index in 0..10_000 {
            if index % 100 == 0 {
                sleep(SECOND).await;
            }
            requests.push(tokio::spawn(timeout(
                2 * SECOND,
                hangs().with(async |()| Ok(())),
            )));
        }
        for request in requests {
            assert!(request.await.expect("no panic").is_err());
        }
        detached::drain().await;
        // The limit, and those who came in the two seconds before it was reached.
        assert!(MOST.load(Ordering::Relaxed) <= 300, "{MOST:?}");
        assert_eq!(OPEN.load(Ordering::Relaxed), 0);
    });
}

/// 10,000 requests that all time out, and whose exits take half a second. Gives how many requests
/// of sessions were answered meanwhile, and the most contexts of the storm that were open at a
/// time.
async fn answered_in_a_storm(requests: u32, limit: usize) -> (usize, usize) {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);

    #[async_context]
    async fn hanging() -> Result<(), String> {
        let open = OPEN.fetch_add(1, Ordering::Relaxed) + 1;
        MOST.fetch_max(open, Ordering::Relaxed);
        let ((), _) = yield_!(());
        sleep(SECOND / 2).await;
        OPEN.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    let _limits = Limits::set(limit, Duration::MAX);
    MOST.store(0, Ordering::Relaxed);
    let begun = Instant::now();
    let time = 10 * SECOND;
    let sessions: Vec<_> = (0..10)
        .map(|_| {
            tokio::spawn(slow(Duration::ZERO).with(async move |()| {
                let mut answered = 0;
                while begun.elapsed() < time {
                    let request = slow(Duration::from_millis(1));
                    let work = request.with(async |()| Ok(sleep(SECOND / 200).await));
                    work.await?;
                    answered += 1;
                }
                Ok(answered)
            }))
        })
        .collect();
    let mut storm = Vec::new();
    for _ in 0..requests {
        sleep(time / requests).await;
        let request = hanging().with(async |()| pending::<Result<(), String>>().await);
        storm.push(tokio::spawn(timeout(SECOND / 20, request)));
    }
    for request in storm {
        assert!(request.await.expect("no panic").is_err());
    }
    let mut answered = 0;
    for session in sessions {
        answered += session.await.expect("no panic").expect("no error");
    }
    detached::drain().await;
    assert_eq!(OPEN.load(Ordering::Relaxed), 0);
    (answered, MOST.load(Ordering::Relaxed))
}

#[test]
fn requests_inside_of_a_session_go_on_as_ever_in_a_storm_whose_exits_are_limited() {
    on_current_thread(async |stage| {
        let (calm, _) = answered_in_a_storm(0, 100).await;
        let (answered, most) = answered_in_a_storm(10_000, 100).await;
        assert!(answered >= calm * 9 / 10, "{answered} of {calm}");
        // The limit, and those that were let in before it was reached, in a twentieth of a second.
        assert!((100..=150).contains(&most), "{most}");
        let (_, most) = answered_in_a_storm(10_000, usize::MAX).await;
        assert!(most > 500, "{most}");
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn an_exit_that_is_over_the_limit_for_all_is_given_up_and_reported() {
    on_current_thread(async |stage| {
        let _limits = Limits::set(usize::MAX, 30 * SECOND);
        let ledger = Ledger::default();
        let older = noted(ledger.clone(), "older").guard().await;
        let younger = stuck(ledger.clone(), "younger").guard().await;
        drop((younger, older));
        let begun = Instant::now();
        detached::drain().await;
        assert_eq!(begun.elapsed(), 30 * SECOND);
        assert_eq!(ledger.lines(), ["begin younger", "exit older"]);
        let kinds: Vec<_> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::LongWait, Kind::TimedOut]);
    });
}

#[test]
fn an_exit_with_a_limit_of_its_own_keeps_it() {
    on_current_thread(async |stage| {
        let _limits = Limits::set(usize::MAX, 5 * SECOND);
        let begun = Instant::now();
        drop(slow(8 * SECOND).exit_timeout(9 * SECOND).guard().await);
        let both = slow(8 * SECOND)
            .exit_timeout(9 * SECOND)
            .enter_timeout(SECOND);
        drop(both.guard().await);
        detached::drain().await;
        assert_eq!(begun.elapsed(), 8 * SECOND);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn an_exit_that_waits_for_others_is_not_over_the_limit() {
    on_current_thread(async |stage| {
        let _limits = Limits::set(usize::MAX, 5 * SECOND);
        let begun = Instant::now();
        let guards = (
            slow(4 * SECOND).guard().await,
            slow(4 * SECOND).guard().await,
            slow(4 * SECOND).guard().await,
        );
        let (first, second, third) = guards;
        drop(third);
        drop(second);
        drop(first);
        detached::drain().await;
        assert_eq!(begun.elapsed(), 12 * SECOND);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn each_exit_of_a_stack_has_the_limit_for_itself() {
    on_current_thread(async |stage| {
        let _limits = Limits::set(usize::MAX, 5 * SECOND);
        let stack = ExitStack::<String>::new();
        let ledger = Ledger::default();
        drop(
            stack
                .enter(noted(ledger.clone(), "below"))
                .await
                .expect("no error"),
        );
        for _ in 0..3 {
            drop(stack.enter(slow(4 * SECOND)).await.expect("no error"));
        }
        drop(
            stack
                .enter(stuck(ledger.clone(), "top"))
                .await
                .expect("no error"),
        );
        let begun = Instant::now();
        drop(stack);
        detached::drain().await;
        assert_eq!(begun.elapsed(), 17 * SECOND);
        assert_eq!(ledger.lines(), ["begin top", "exit below"]);
        let kinds: Vec<_> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::TimedOut]);
    });
}

#[test]
fn force_gives_up_an_exit_and_those_that_wait_for_it_go_on() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let older = noted(ledger.clone(), "older").guard().await;
        let younger = stuck(ledger.clone(), "younger").guard().await;
        drop((younger, older));
        while !ledger.has("begin younger") {
            yield_now().await;
        }
        let list = detached::list();
        let hangs = list.iter().find(|seen| seen.name().ends_with("::stuck"));
        assert!(detached::force(hangs.expect("it is closing")));
        detached::drain().await;
        assert!(!detached::force(&list[0]));
        assert_eq!(ledger.lines(), ["begin younger", "exit older"]);
        assert_eq!(stage.reports(), [(Kind::Forced, String::new())]);
    });
}

#[test]
fn force_gives_up_an_enter_in_the_background_and_an_exit_that_waits() {
    #[async_context]
    async fn never() -> Result<(), String> {
        pending::<()>().await;
        let ((), _) = yield_!(());
        Ok(())
    }

    on_current_thread(async |stage| {
        let used = never().with(async |()| Ok(()));
        assert!(timeout(SECOND, used).await.is_err());
        yield_now().await;
        assert_eq!(detached::list()[0].activity(), Activity::Entering);
        assert!(detached::force(&detached::list()[0]));
        detached::drain().await;
        assert_eq!(stage.reports(), [(Kind::Forced, String::new())]);

        let ledger = Ledger::default();
        let older = noted(ledger.clone(), "older").guard().await;
        let younger = stuck(ledger.clone(), "younger").guard().await;
        drop((younger, older));
        sleep(SECOND).await;
        let list = detached::list();
        let waits = list
            .iter()
            .find(|seen| seen.activity() == Activity::Waiting);
        assert!(detached::force(waits.expect("it waits")));
        sleep(SECOND).await;
        assert_eq!(detached::list().len(), 1);
        assert!(detached::force(&detached::list()[0]));
        detached::drain().await;
        assert_eq!(ledger.lines(), ["begin younger"]);
        assert_eq!(stage.reports().len(), 2);
    });
}

#[test]
fn nobody_waits_for_what_a_forced_exit_had_opened() {
    #[async_context]
    async fn opens(ledger: Ledger) -> Result<(), String> {
        let ((), _) = yield_!(());
        drop(stuck(ledger.clone(), "opened in exit").guard().await);
        pending::<()>().await;
        Ok(())
    }

    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let older = noted(ledger.clone(), "older").guard().await;
        let younger = opens(ledger.clone()).guard().await;
        drop((younger, older));
        sleep(SECOND).await;
        let force = |name: &str| {
            let list = detached::list();
            let seen = list.iter().find(|seen| seen.name().ends_with(name));
            assert!(detached::force(seen.expect("it is closing")));
        };
        force("::opens");
        sleep(SECOND).await;
        assert_eq!(ledger.lines(), ["begin opened in exit", "exit older"]);
        force("::stuck");
        detached::drain().await;
        let mut kinds: Vec<_> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
        kinds.sort_by_key(|kind| format!("{kind:?}"));
        assert_eq!(kinds, [Kind::Forced, Kind::Forced, Kind::LetGo]);
    });
}

#[test]
fn a_panic_in_the_drop_of_a_forced_exit_is_reported() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }

    on_current_thread(async |stage: &Stage| {
        let armed = closing(Bomb, async |bomb: Bomb| {
            pending::<()>().await;
            drop(bomb);
            Ok::<_, String>(())
        });
        drop(armed.guard().await);
        yield_now().await;
        assert!(detached::force(&detached::list()[0]));
        detached::drain().await;
        assert_eq!(
            stage.reports(),
            [
                (Kind::Forced, String::new()),
                (Kind::Panicked, "bomb".to_owned())
            ]
        );
    });
}

#[test]
fn with_a_limit_on_exits_a_stack_that_an_exit_awaits_still_exits_before_it_returns() {
    on_current_thread(async |stage| {
        let _limits = Limits::set(usize::MAX, 60 * SECOND);
        let ledger = Ledger::default();
        let noted = ledger.clone();
        let outer = defer(async move |_: &Outcome| {
            let stack = ExitStack::<String>::new();
            stack.defer(async move |_: &Outcome| {
                sleep(SECOND).await;
                Err("disk full".to_owned())
            });
            let exited = stack.exit(Ok(())).await;
            noted.note(format!("after: {exited:?}"));
            let stack = ExitStack::<String>::new();
            stack.defer(async |_: &Outcome| Ok(()));
            stack.exit(Err("no".to_owned())).await
        });
        drop(outer.guard().await);
        detached::drain().await;
        assert_eq!(ledger.text(), "after: Err(\"disk full\")");
        let failed = (Kind::ExitFailed, "\"no\"".to_owned());
        assert_eq!(stage.reports(), [failed]);
    });
}

#[test]
fn with_a_limit_on_exits_the_lower_entries_of_a_stack_that_was_left_see_a_cancelled_body() {
    on_current_thread(async |_| {
        let _limits = Limits::set(usize::MAX, 60 * SECOND);
        let ledger = Ledger::default();
        let noted = ledger.clone();
        let stack = ExitStack::<String>::new();
        stack.defer(async move |outcome: &Outcome| {
            noted.note(format!("lower: {outcome:?}"));
            Ok(())
        });
        stack.defer(async |_: &Outcome| {
            sleep(SECOND).await;
            Ok(())
        });
        let left = timeout(Duration::from_millis(1), stack.exit(Ok(())));
        assert!(left.await.is_err());
        detached::drain().await;
        assert_eq!(ledger.text(), "lower: Cancelled");
    });
}
