//! Contexts that many users share, and that are replaced while they are in use.

use std::cell::RefCell;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::testing::{cancel_everywhere, cancel_pairs};
use async_context_manager::{Shared, detached, keyed, prelude::*, shared, swappable};
use futures::FutureExt;
use futures::future::join_all as all;
use tests::{
    End, Fault, Ledger, Script, Stage, everywhere, generated, on_current_thread, pause, poll_times,
};
use tokio::runtime::Builder;
use tokio::sync::Barrier;
use tokio::time::sleep;

const SHORT: Duration = Duration::from_secs(1);

/// A shared context with this script.
fn scripted(script: Script) -> Shared<&'static str, Fault> {
    shared(move || generated(script.clone()))
}

/// A user whose body takes so many polls.
async fn use_it(
    shared: &Shared<&'static str, Fault>,
    polls: usize,
) -> Result<&'static str, Arc<Fault>> {
    let body = async |name: &mut async_context_manager::Share<_, _>| {
        pause(polls).await;
        Ok(**name)
    };
    shared.clone().with(body).await
}

/// What was opened has been closed, and at no time two of them were there. Gives how often it was
/// opened.
fn check(ledger: &Ledger) -> usize {
    let mut is_there = false;
    let mut opened = 0;
    for line in ledger.lines() {
        let begins = line.starts_with("enter ");
        if begins || line.starts_with("exited ") {
            assert_ne!(is_there, begins, "{}", ledger.text());
            is_there = begins;
            opened += usize::from(begins);
        }
    }
    assert!(!is_there, "{}", ledger.text());
    assert_eq!(ledger.count("exit "), opened, "{}", ledger.text());
    opened
}

#[test]
fn many_users_open_a_shared_context_once_and_the_last_one_awaits_its_exit() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let shared = scripted(Script::new("c", &ledger));
        let barrier = Arc::new(Barrier::new(20));
        let users = (0..20).map(|number| {
            let (shared, barrier, ledger) = (shared.clone(), barrier.clone(), ledger.clone());
            tokio::spawn(async move {
                let body = async move |name: &mut async_context_manager::Share<_, _>| {
                    barrier.wait().await;
                    pause(number).await;
                    ledger.note("leaves");
                    Ok(**name)
                };
                shared.with(body).await
            })
        });
        for user in all(users).await {
            assert_eq!(user.expect("no panic"), Ok("c"));
        }
        assert_eq!((check(&ledger), detached::count()), (1, 0));
        let lines = ledger.lines();
        let last = lines.iter().rposition(|line| line == "leaves");
        let exit = lines.iter().position(|line| line == "exit c: completed");
        assert!(last < exit, "{lines:?}");
    });
}

#[test]
fn a_failed_opening_is_the_error_of_all_who_waited_and_the_next_user_tries_again() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let fails = Arc::new(AtomicBool::new(true));
        let shared = {
            let (ledger, fails) = (ledger.clone(), fails.clone());
            shared(move || {
                let fails = fails.load(Ordering::Relaxed);
                let enter = if fails { End::Fail("enter") } else { End::Ok };
                generated(Script::new("c", &ledger).enter(enter))
            })
        };
        let results = all((0..3).map(|_| use_it(&shared, 1))).await;
        assert_eq!(results, vec![Err(Arc::new(Fault("enter"))); 3]);
        assert_eq!(ledger.text(), "enter c");
        fails.store(false, Ordering::Relaxed);
        assert_eq!(use_it(&shared, 1).await, Ok("c"));
        assert_eq!(ledger.count("enter c"), 2);
        assert_eq!(ledger.count("exited c"), 1);
    });
}

#[test]
fn an_opening_that_panics_is_tried_again_by_those_who_wait() {
    everywhere(async |_| {
        for in_open in [false, true] {
            let ledger = Ledger::default();
            let tries = AtomicUsize::new(0);
            let shared = {
                let ledger = ledger.clone();
                shared(move || {
                    let panics = tries.fetch_add(1, Ordering::Relaxed) == 0;
                    if panics && in_open {
                        std::panic::resume_unwind(Box::new("enter"));
                    }
                    let enter = if panics { End::Panic("enter") } else { End::Ok };
                    generated(Script::new("c", &ledger).enter(enter))
                })
            };
            let users = (0..3).map(|_| AssertUnwindSafe(use_it(&shared, 1)).catch_unwind());
            let results = all(users).await;
            let panics = results.iter().filter(|result| result.is_err()).count();
            assert_eq!(panics, 1, "the one who opened");
            let well = results.iter().flatten().filter(|result| result.is_ok());
            assert_eq!(well.count(), 2);
            assert_eq!(ledger.count("entered c"), 1);
            assert_eq!(ledger.count("exited c"), 1);
        }
    });
}

#[test]
fn the_error_and_the_panic_of_the_exit_are_the_last_user_s() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let shared = scripted(Script::new("c", &ledger).exit(End::Fail("exit")));
        let results = futures::join!(use_it(&shared, 1), use_it(&shared, 9));
        assert_eq!(results, (Ok("c"), Err(Arc::new(Fault("exit")))));

        let shared = scripted(Script::new("d", &ledger).exit(End::Panic("exit")));
        let last = AssertUnwindSafe(use_it(&shared, 9)).catch_unwind();
        let (first, last) = futures::join!(use_it(&shared, 1), last);
        assert_eq!(first, Ok("d"));
        assert!(last.is_err());
        assert_eq!(ledger.count("exited d"), 1);
    });
}

#[test]
fn a_user_who_comes_while_it_exits_waits_and_opens_anew() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let shared = scripted(Script::new("c", &ledger));
        let late = async {
            ledger.until("exit c: completed").await;
            use_it(&shared, 1).await
        };
        let results = futures::join!(use_it(&shared, 1), late);
        assert_eq!(results, (Ok("c"), Ok("c")));
        assert_eq!(check(&ledger), 2);
    });
}

#[test]
fn an_opening_that_is_given_up_is_gone_on_with_by_those_who_wait() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let shared = scripted(Script::new("c", &ledger));
        let mut opens = Box::pin(use_it(&shared, 1));
        assert!(poll_times(&mut opens, 1).await.is_none());
        let mut waits = Box::pin(use_it(&shared, 1));
        assert!(poll_times(&mut waits, 1).await.is_none());
        drop(opens);
        assert_eq!(waits.await, Ok("c"));
        assert_eq!(check(&ledger), 1);
        assert!(ledger.has("exit c: completed"));
    });
}

#[test]
fn an_opening_that_all_have_given_up_ends_in_the_background() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let shared = scripted(Script::new("c", &ledger));
        for _ in 0..2 {
            assert!(poll_times(use_it(&shared, 1), 1).await.is_none());
        }
        // It waits for the end of that one, and has no part in it.
        assert_eq!(use_it(&shared, 1).await, Ok("c"));
        // On two workers the first opening may have ended before the second user came.
        let given_up = ledger.count("exit c: cancelled");
        assert!((1..=2).contains(&given_up), "{given_up}");
        assert_eq!(check(&ledger), given_up + 1);
    });
}

#[test]
fn an_opening_that_was_left_to_one_who_then_goes_ends_in_the_background() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let shared = scripted(Script::new("c", &ledger));
        let mut opens = Box::pin(use_it(&shared, 1));
        assert!(poll_times(&mut opens, 1).await.is_none());
        let mut waits = Box::pin(use_it(&shared, 1));
        assert!(poll_times(&mut waits, 1).await.is_none());
        drop(opens);
        drop(waits);
        detached::drain().await;
        assert_eq!(check(&ledger), 1);
    });
}

#[test]
fn users_of_a_shared_context_are_dropped_at_every_poll() {
    everywhere(async |_| {
        let ledger = RefCell::new(Ledger::default());
        let runs = cancel_everywhere(
            || {
                let fresh = Ledger::default();
                ledger.replace(fresh.clone());
                async move {
                    let shared = scripted(Script::new("c", &fresh));
                    let results = futures::join!(use_it(&shared, 2), use_it(&shared, 5));
                    assert_eq!(results, (Ok("c"), Ok("c")));
                    use_it(&shared, 1).await
                }
            },
            |run| {
                check(&ledger.borrow());
                assert!(run.reports().is_empty(), "{run}");
            },
        )
        .await;
        assert!(runs > 15, "{runs}");
    });
}

#[test]
fn pairs_of_users_are_dropped_at_every_poll() {
    everywhere(async |_| {
        for (linger, fails) in [
            (Duration::ZERO, false),
            (SHORT, false),
            (Duration::ZERO, true),
        ] {
            let ledger = RefCell::new(Ledger::default());
            let runs = cancel_pairs(
                || {
                    let fresh = Ledger::default();
                    ledger.replace(fresh.clone());
                    let enter = if fails { End::Fail("enter") } else { End::Ok };
                    let shared = scripted(Script::new("c", &fresh).enter(enter)).linger(linger);
                    let other = shared.clone();
                    (async move { use_it(&shared, 2).await }, async move {
                        let _ = use_it(&other, 1).await;
                        use_it(&other, 1).await
                    })
                },
                |run| {
                    if !fails {
                        check(&ledger.borrow());
                    }
                    for report in run.reports() {
                        // Of an opening that all had given up.
                        assert!(fails && report.kind() == Kind::EnterFailed, "{report}");
                    }
                },
            )
            .await;
            assert!(runs > 20, "{runs}");
        }
    });
}

#[test]
fn an_exit_that_the_limit_of_the_last_user_cuts_off_goes_on_and_who_comes_waits_for_it() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let slow = Script {
            exits_in: 9 * SHORT,
            ..Script::new("c", &ledger)
        };
        let shared = scripted(slow);
        let user = shared.clone().exit_timeout(SHORT);
        let ended = user.with(async |_| Ok(())).await;
        assert!(ended.is_err(), "it was given up");
        assert_eq!(ledger.count("exited c"), 0);
        assert_eq!(use_it(&shared, 1).await, Ok("c"));
        assert_eq!(check(&ledger), 2);
    });
}

#[test]
fn without_a_tokio_runtime_a_context_is_shared_all_the_same() {
    let _stage = Stage::alone();
    let ledger = Ledger::default();
    let shared = scripted(Script::new("c", &ledger)).linger(Duration::from_millis(1));
    futures::executor::block_on(async {
        let results = futures::join!(use_it(&shared, 2), use_it(&shared, 5));
        assert_eq!(results, (Ok("c"), Ok("c")));
        assert!(poll_times(use_it(&shared, 2), 2).await.is_none());
    });
    // Its timer is on the crate's own thread.
    while !ledger.has("exited c") {
        std::thread::yield_now();
    }
    assert_eq!(detached::drain_blocking(Duration::from_secs(50)), 0);
    check(&ledger);
}

#[test]
fn a_shared_context_goes_on_in_the_next_runtime() {
    static LEDGER: LazyLock<Ledger> = LazyLock::new(Ledger::default);
    static SHARED: LazyLock<Shared<&str, Fault>> =
        LazyLock::new(|| scripted(Script::new("c", &LEDGER)).linger(Duration::MAX));

    let _stage = Stage::alone();
    for opened in 1..=2 {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system has a runtime for us");
        runtime.block_on(async {
            assert_eq!(use_it(&SHARED, 2).await, Ok("c"));
            assert_eq!(use_it(&SHARED, 2).await, Ok("c"));
        });
        // What lingers ends with the runtime.
        drop(runtime);
        assert_eq!(detached::drain_blocking(Duration::from_secs(50)), 0);
        assert_eq!(check(&LEDGER), opened);
    }
}

#[test]
fn a_context_that_lingers_is_open_for_that_long_after_its_last_use() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let shared = scripted(Script::new("c", &ledger)).linger(2 * SHORT);
        for _ in 0..5 {
            use_it(&shared, 1).await.expect("it opens");
            sleep(SHORT + SHORT / 2).await;
        }
        // In use, its time does not pass.
        let user = shared.clone().guard().await.expect("it is open");
        sleep(10 * SHORT).await;
        Guard::close(user).await.expect("it stays open");
        assert_eq!((ledger.count("entered"), ledger.count("exit")), (1, 0));
        sleep(Duration::from_millis(1_995)).await;
        assert_eq!(ledger.count("exit"), 0);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(ledger.count("exited c"), 1);
        use_it(&shared, 1).await.expect("it opens again");
        sleep(3 * SHORT).await;
        assert_eq!(check(&ledger), 2);
    });
}

#[test]
fn a_drain_closes_at_once_what_lingers() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Fail("exit"));
        let shared = scripted(script).linger(Duration::MAX);
        use_it(&shared, 1).await.expect("it opens");
        assert_eq!((ledger.count("exit"), detached::count()), (0, 0));
        let begun = tokio::time::Instant::now();
        detached::drain().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(check(&ledger), 1);
        let fault = format!("{:?}", Fault("exit"));
        assert_eq!(stage.reports(), [(Kind::ExitFailed, fault)]);

        // What is in use is not closed.
        let user = shared.clone().guard().await.expect("it opens");
        detached::drain().await;
        assert_eq!(ledger.count("exited"), 1);
        drop(user);
        detached::drain().await;
        assert_eq!(check(&ledger), 2);
        assert_eq!(stage.reports().len(), 1);
    });
}

#[test]
fn no_context_around_a_user_waits_for_what_others_still_use() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let shared = scripted(Script::new("c", &ledger));
        // The one who opens it is inside of another context, and leaves first.
        let other = generated(Script::new("around", &ledger))
            .with(async |_| {
                let first = shared.clone().guard().await.expect("it opens");
                let second = shared.clone().guard().await.expect("it is open");
                drop(first);
                Ok(second)
            })
            .await
            .expect("it does not fail");
        assert!(ledger.has("exited around"));
        assert_eq!(ledger.count("exit c"), 0);
        drop(other);
        detached::drain().await;
        assert!(ledger.has("exited c"));

        // And an opening that is given up there.
        let ledger = Ledger::default();
        let slow = Script {
            enters_in: Duration::from_millis(20),
            ..Script::new("c", &ledger)
        };
        let shared = scripted(slow);
        let around = generated(Script::new("around", &ledger)).with(async |_| {
            assert!(poll_times(use_it(&shared, 1), 1).await.is_none());
            Ok(())
        });
        around.await.expect("it does not fail");
        assert_eq!(ledger.count("entered c"), 0);
    });
}

#[test]
fn what_a_shared_context_opens_is_inside_of_it() {
    #[async_context]
    async fn outer(ledger: Ledger) -> Result<(), Fault> {
        let inner = generated(Script::new("inner", &ledger)).guard().await?;
        ledger.note("enter outer");
        ledger.note("entered outer");
        let ((), _) = yield_!(());
        drop(inner); // in the background, and inside of it
        ledger.note("exit outer: completed");
        pause(5).await;
        ledger.note("exited outer");
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let inner = ledger.clone();
        let shared = shared(move || outer(inner.clone()));
        shared
            .clone()
            .with(async |_| Ok(()))
            .await
            .expect("it is well");
        detached::drain().await;
        assert_eq!(ledger.count("exited"), 2);
    });
}

#[test]
fn shares_that_change_places_are_counted_where_they_are_from() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let (one, two) = (
            scripted(Script::new("one", &ledger)),
            scripted(Script::new("two", &ledger)),
        );
        let mut first = one.clone().guard().await.expect("it opens");
        let mut second = two.clone().guard().await.expect("it opens");
        std::mem::swap(&mut *first, &mut *second);
        assert_eq!((**first, **second), ("two", "one"));
        Guard::close(first).await.expect("it is well");
        assert!(ledger.has("exited two") && !ledger.has("exited one"));
        Guard::close(second).await.expect("it is well");
        assert!(ledger.has("exited one"));
    });
}

#[test]
fn each_key_has_a_shared_context_and_is_forgotten_with_it() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let contexts = {
            let ledger = ledger.clone();
            keyed(move |name: &Arc<&'static str>| generated(Script::new(name, &ledger)))
        };
        let lingering = contexts.clone().linger(SHORT);
        let keys = [Arc::new("a"), Arc::new("b")];
        for contexts in [&contexts, &lingering] {
            let users = keys.iter().cycle().take(6).map(async |key| {
                let body = async |name: &mut async_context_manager::Share<_, _>| {
                    pause(3).await;
                    Ok(**name)
                };
                contexts.at(key.clone()).with(body).await
            });
            let names: Vec<_> = all(users).await.into_iter().flatten().collect();
            assert_eq!(names, ["a", "b", "a", "b", "a", "b"]);
        }
        assert_eq!(
            (ledger.count("entered a"), ledger.count("entered b")),
            (2, 2)
        );
        assert_eq!((ledger.count("exited a"), ledger.count("exited b")), (1, 1));
        assert!(
            keys.iter().all(|key| Arc::strong_count(key) > 1),
            "they linger"
        );
        // Asked for again, it is the same one.
        let again = lingering.at(keys[0].clone()).with(async |_| Ok(())).await;
        again.expect("it is open");
        assert_eq!(ledger.count("entered a"), 2);
        sleep(2 * SHORT).await;
        assert_eq!((ledger.count("exited a"), ledger.count("exited b")), (2, 2));
        assert!(keys.iter().all(|key| Arc::strong_count(key) == 1));
    });
}

#[test]
fn who_has_the_old_one_keeps_it_and_exits_it_and_who_comes_has_the_new_one() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let new = |name| {
            let ledger = ledger.clone();
            move || generated(Script::new(name, &ledger))
        };
        let contexts = swappable(new("1"));
        let first = contexts.clone().guard().await.expect("it opens");
        contexts.replace(new("2")).await.expect("it opens");
        let second = contexts.clone().guard().await.expect("it is open");
        assert_eq!((**first, **second), ("1", "2"));
        assert_eq!(ledger.count("exit"), 0);
        Guard::close(first).await.expect("it is well");
        assert!(ledger.has("exited 1"));
        Guard::close(second).await.expect("it is well");
        assert!(!ledger.has("exited 2"));
        // Nobody uses it.
        contexts.replace(new("3")).await.expect("it opens");
        assert!(ledger.has("exited 2"));
        assert_eq!(use_it(&contexts, 1).await, Ok("3"));
        detached::drain().await;
        assert!(ledger.has("exited 3"));
        assert_eq!(use_it(&contexts, 1).await, Ok("3"));
        assert_eq!(ledger.count("entered 3"), 2);
    });
}

#[test]
fn one_that_can_t_be_replaced_stays() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let script = Script::new("old", &ledger).exit(End::Fail("exit"));
        let contexts = swappable(move || generated(script.clone()));
        assert_eq!(use_it(&contexts, 1).await, Ok("old"));
        let new = Script::new("new", &ledger).enter(End::Fail("enter"));
        let replaced = contexts.replace(move || generated(new.clone())).await;
        assert_eq!(replaced, Err(Arc::new(Fault("enter"))));
        assert_eq!(use_it(&contexts, 1).await, Ok("old"));
        assert_eq!((ledger.count("entered old"), ledger.count("exit")), (1, 0));

        // The error of the old exit does not hide that the new one is there.
        let new = Script::new("new", &ledger);
        contexts
            .replace(move || generated(new.clone()))
            .await
            .expect("it opens");
        assert_eq!(use_it(&contexts, 1).await, Ok("new"));
        let fault = format!("{:?}", Fault("exit"));
        assert_eq!(stage.reports(), [(Kind::ExitFailed, fault)]);
    });
}

#[test]
fn a_replacement_is_dropped_at_every_poll() {
    everywhere(async |_| {
        let ledger = RefCell::new(Ledger::default());
        let runs = cancel_everywhere(
            || {
                let fresh = Ledger::default();
                ledger.replace(fresh.clone());
                async move {
                    let new = |name| {
                        let ledger = fresh.clone();
                        move || generated(Script::new(name, &ledger))
                    };
                    let contexts = swappable(new("1"));
                    let user = async {
                        let name = use_it(&contexts, 4).await;
                        (name, use_it(&contexts, 4).await)
                    };
                    let (names, replaced) = futures::join!(user, contexts.replace(new("2")));
                    replaced.expect("it opens");
                    names
                }
            },
            |run| {
                let ledger = ledger.borrow();
                for name in ["1", "2"] {
                    let entered = ledger.count(&format!("entered {name}"));
                    let exited = ledger.count(&format!("exited {name}"));
                    assert!(entered == exited && entered <= 1, "{}", ledger.text());
                }
                assert!(run.reports().is_empty(), "{run}");
            },
        )
        .await;
        assert!(runs > 10, "{runs}");
    });
}

#[test]
fn a_thousand_swaps_under_load_close_each_once_and_nobody_uses_a_closed_one() {
    #[derive(Debug)]
    struct Resource {
        number: usize,
        is_closed: AtomicBool,
    }

    type Counts = Arc<(AtomicUsize, AtomicUsize)>;

    #[async_context]
    async fn resource(number: usize, counts: Counts) -> Result<Arc<Resource>, Fault> {
        tokio::task::yield_now().await;
        counts.0.fetch_add(1, Ordering::Relaxed);
        let resource = Arc::new(Resource {
            number,
            is_closed: AtomicBool::new(false),
        });
        let (resource, _) = yield_!(resource);
        assert_eq!(Arc::strong_count(&resource), 1);
        assert!(
            !resource.is_closed.swap(true, Ordering::Relaxed),
            "closed twice"
        );
        tokio::task::yield_now().await;
        counts.1.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    everywhere(async |_| {
        let counts = Counts::default();
        let new = |number| {
            let counts = counts.clone();
            move || resource(number, counts.clone())
        };
        let resources = swappable(new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let users = (0..8).map(|_| {
            let (resources, is_over) = (resources.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut last = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let used = resources.clone().with(async |resource| {
                        for _ in 0..3 {
                            assert!(!resource.is_closed.load(Ordering::Relaxed));
                            tokio::task::yield_now().await;
                        }
                        Ok(resource.number)
                    });
                    let number = used.await.expect("it is well");
                    assert!(number >= last, "it went back");
                    last = number;
                }
                last
            })
        });
        let users: Vec<_> = users.collect();
        for number in 1..=1_000 {
            resources.replace(new(number)).await.expect("it opens");
        }
        is_over.store(true, Ordering::Relaxed);
        for user in users {
            user.await.expect("no panic");
        }
        detached::drain().await;
        let counts = (
            counts.0.load(Ordering::Relaxed),
            counts.1.load(Ordering::Relaxed),
        );
        // The first one opens only where a user came before the first swap.
        assert!(
            counts == (1_001, 1_001) || counts == (1_000, 1_000),
            "{counts:?}"
        );
    });
}

#[test]
fn a_user_whose_runtime_goes_leaves() {
    let _stage = Stage::alone();
    let ledger = Ledger::default();
    let shared = scripted(Script::new("c", &ledger));
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has a runtime for us");
    let user = shared.clone();
    runtime.spawn(async move { user.with(async |_| pending::<Result<(), _>>().await).await });
    runtime.block_on(ledger.until("entered c"));
    drop(runtime);
    assert_eq!(detached::drain_blocking(Duration::from_secs(50)), 0);
    assert_eq!(check(&ledger), 1);
    assert_eq!(futures::executor::block_on(use_it(&shared, 1)), Ok("c"));
    assert_eq!(check(&ledger), 2);
}

#[test]
fn an_exit_that_fails_after_a_context_was_replaced_is_reported_and_no_error_of_replace() {
    #[async_context]
    async fn opened(name: &'static str) -> Result<&'static str, Fault> {
        let (name, _) = yield_!(name);
        Err(Fault(name))
    }

    on_current_thread(async |stage| {
        let shared = shared(|| opened("old"));
        assert_eq!(shared.replace(|| opened("new")).await, Ok(()));
        let told = (Kind::ExitFailed, "Fault(\"new\")".to_owned());
        assert_eq!(stage.reports(), [told]);
    });
}
