//! The tools that users prove their own programs with: that they find what is wrong, say where, and
//! end.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_context_manager::report::Kind;
use async_context_manager::testing::{
    Fault as Injection, Faults, Injected, Run, cancel_after, cancel_everywhere, cancel_pair_after,
    cancel_pairs, cancel_woken_after, inject, inject_everywhere, set_patience,
};
use async_context_manager::{detached, prelude::*};
use futures::FutureExt;
use tests::{
    End, Fault, Ledger, Script, everywhere, generated, in_a_process_of_its_own, on_current_thread,
    pause, poll_times,
};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// The message of the panic that the future ends with.
async fn panic_of<F: Future>(future: F) -> String {
    let Err(payload) = AssertUnwindSafe(future).catch_unwind().await else {
        panic!("it did not panic");
    };
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| {
        payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    })
    .expect("a panic has a message")
}

#[test]
fn a_program_is_dropped_at_each_moment_between_two_polls_and_then_runs_to_its_end() {
    on_current_thread(async |_| {
        let told = RefCell::new(Vec::new());
        let runs = cancel_everywhere(
            || async {
                sleep(Duration::from_secs(3_600)).await;
                pause(1).await;
                "done"
            },
            |run: &Run<_>| {
                assert_eq!(run.is_cancelled(), run.output().is_none());
                told.borrow_mut().push(run.to_string());
            },
        )
        .await;
        assert_eq!(
            told.into_inner(),
            [
                "dropped after 0 polls",
                "dropped after 1 poll",
                "dropped after 1 poll, woken again",
                "dropped after 2 polls",
                "dropped after 2 polls, woken again",
                "ended after 3 polls",
            ]
        );
        assert_eq!(runs, 6);
    });
}

/// A seat that is taken by hand, and given back by hand: not where the program is dropped.
async fn careless(taken: &Cell<i32>) {
    pause(1).await;
    taken.set(taken.get() + 1);
    pause(1).await;
    taken.set(taken.get() - 1);
}

#[test]
fn a_program_that_cleans_up_by_hand_is_caught_and_its_run_can_be_repeated_alone() {
    everywhere(async |_| {
        let taken = Cell::new(0);
        let check = |run: &Run<()>| assert_eq!(taken.take(), 0, "{run}");
        let message = panic_of(cancel_everywhere(|| careless(&taken), check)).await;
        assert!(message.contains("dropped after 2 polls"), "{message}");

        let run = cancel_after(1, careless(&taken)).await;
        assert_eq!((run.polls(), taken.take()), (1, 0));
        let run = cancel_after(2, careless(&taken)).await;
        assert_eq!((run.polls(), taken.take()), (2, 1));
        let run = cancel_after(99, careless(&taken)).await;
        assert_eq!((run.output(), run.polls(), taken.take()), (Some(&()), 3, 0));
    });
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn runs_that_fail_by_turns() {
    fn fails_at<R>(last: usize) -> impl FnMut(&R) {
        let mut run = 0;
        move |_| {
            run += 1;
            if run == last {
                drop(End::Panic("check").come());
            }
        }
    }

    on_current_thread(async |_| {
        let program = || pause(2);
        panic_of(cancel_everywhere(program, fails_at(2))).await;
        panic_of(cancel_everywhere(program, fails_at(5))).await;
        panic_of(cancel_pairs(|| (pause(1), pause(2)), fails_at(7))).await;
        panic_of(inject_everywhere(careless_rollback, fails_at(1))).await;
        panic_of(inject_everywhere(careless_rollback, fails_at(2))).await;
        panic_of(inject_everywhere(careless_rollback, fails_at(9))).await;
    });
}

#[test]
fn a_run_that_fails_is_named_by_the_call_that_repeats_it() {
    let stderr = in_a_process_of_its_own("testing::runs_that_fail_by_turns");
    let calls: Vec<_> = stderr.split('`').skip(1).step_by(2).collect();
    assert_eq!(
        calls,
        [
            "cancel_after(1, …)",
            "cancel_woken_after(2, …)",
            "cancel_pair_after((1, 2), …)",
            "inject(&[], …)",
            "inject(&[Fault::Error(1)], …)",
            "inject(&[Fault::Error(1), Fault::Error(2)], …)",
        ],
        "{stderr}"
    );
}

/// What is on its way to a program can be lost only where it arrives before the program drops.
#[test]
fn a_program_is_dropped_when_it_was_woken_as_well() {
    on_current_thread(async |_| {
        let program = |sent: Arc<Mutex<bool>>| async move {
            let (letter, letterbox) = oneshot::channel();
            tokio::spawn(async move {
                pause(3).await;
                *sent.lock().expect("nothing panics in here") = letter.send(()).is_ok();
            });
            letterbox.await.expect("it was sent");
        };
        let sent = Arc::new(Mutex::new(false));
        let was_sent = |sent: &Mutex<bool>| *sent.lock().expect("nothing panics in here");
        assert!(cancel_after(1, program(sent.clone())).await.is_cancelled());
        pause(9).await;
        assert!(!was_sent(&sent));
        let run = cancel_woken_after(1, program(sent.clone())).await;
        assert_eq!(run.to_string(), "dropped after 1 poll, woken again");
        assert!(was_sent(&sent));
    });
}

#[test]
fn the_check_comes_after_the_exits_and_gets_the_reports() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let script = || Script::new("c", &ledger).exit(End::Fail("exit"));
        let runs = cancel_everywhere(
            || generated(script()).with(async |_| Ok(pause(2).await)),
            |run| {
                assert_eq!(detached::count(), 0);
                let failed = run
                    .reports()
                    .iter()
                    .filter(|report| report.kind() == Kind::ExitFailed);
                let told = failed.count() + usize::from(run.output().is_some());
                assert_eq!(told, usize::from(run.polls() > 0), "{run}");
            },
        )
        .await;
        assert_eq!(runs, 14);
        assert_eq!(ledger.count("entered"), 13);
        assert_eq!(stage.reports(), [], "all of them went to the check");

        // And after the runs, also after one that is given up, to the hook again.
        let hanging = cancel_after(9, pending::<()>());
        assert!(poll_times(hanging, 1).await.is_none());
        drop(generated(script()).guard().await);
        detached::drain().await;
        assert_eq!(
            stage.reports(),
            [(Kind::ExitFailed, "Fault(\"exit\")".to_owned())]
        );
    });
}

#[test]
fn a_panic_of_the_program_goes_on_after_its_exits() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let program = || async {
            let guard = generated(Script::new("c", &ledger)).guard().await;
            End::Panic("body").come().map(|_| drop(guard))
        };
        assert_eq!(panic_of(cancel_everywhere(program, |_| {})).await, "body");
        assert_eq!(ledger.count("exited"), ledger.count("entered"));
        assert_eq!(panic_of(cancel_after(9, program())).await, "body");
    });
}

/// What patience is in the tests that use it up.
const SHORT: Duration = Duration::from_millis(20);

/// Puts back the patience of the other tests.
struct Patience;

impl Patience {
    fn short() -> Self {
        set_patience(SHORT);
        Self
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        set_patience(Duration::from_secs(60));
    }
}

#[test]
fn a_program_that_is_never_woken_is_given_up_with_its_poll() {
    everywhere(async |_| {
        let _patience = Patience::short();
        let hanging = || async {
            pause(2).await;
            pending::<()>().await;
        };
        let message = panic_of(cancel_everywhere(hanging, |_| {})).await;
        assert!(
            message.starts_with("nothing has woken the program for 20ms after its poll 3"),
            "{message}"
        );
        let message = panic_of(cancel_pairs(|| (hanging(), pause(1)), |_| {})).await;
        assert!(
            message.starts_with("nothing has woken the programs for 20ms after polls (3, 0)"),
            "{message}"
        );
        let message = panic_of(inject_everywhere(|_| hanging(), |_| {})).await;
        assert!(message.contains("after its poll 3"), "{message}");
    });
}

#[test]
fn patience_begins_anew_with_each_poll() {
    on_current_thread(async |_| {
        let _patience = Patience::short();
        // Longer, so that a busy machine does not use it up where nothing is waited for.
        let limit = 10 * SHORT;
        set_patience(limit);
        let busy = || async {
            for _ in 0..2 {
                let begun = Instant::now();
                while begun.elapsed() < limit {}
                pause(1).await;
            }
        };
        assert!(!cancel_after(9, busy()).await.is_cancelled());
        let run = cancel_pair_after((9, 9), (busy(), pause(9))).await;
        assert_eq!(run.outputs(), (Some(&()), None));
    });
}

#[test]
fn a_program_that_waits_for_hours_on_a_paused_clock_is_not_given_up() {
    on_current_thread(async |_| {
        let _patience = Patience::short();
        let run = cancel_after(9, sleep(Duration::from_secs(86_400))).await;
        assert!(!run.is_cancelled());
    });
}

#[test]
fn a_program_that_is_woken_for_ever_is_given_up() {
    on_current_thread(async |_| {
        let message = panic_of(cancel_after(usize::MAX, pause(usize::MAX))).await;
        assert!(
            message.starts_with("the program was polled 5000 times"),
            "{message}"
        );
        let run = cancel_after(usize::MAX, pause(4_999)).await;
        assert_eq!(run.polls(), 5_000);
    });
}

#[test]
fn exits_that_do_not_end_are_given_up() {
    #[async_context]
    async fn stuck(end: oneshot::Receiver<()>) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        let _ = end.await;
        Ok(())
    }

    on_current_thread(async |_| {
        let _patience = Patience::short();
        let (end, ended) = oneshot::channel();
        let program = stuck(ended).with(async |()| Ok(pause(1).await));
        let message = panic_of(cancel_after(1, program)).await;
        assert_eq!(
            message,
            "20ms after the program has gone, 1 of its exits have not ended"
        );
        end.send(()).expect("it waits");
        detached::drain().await;
    });
}

/// A slot that a context takes, and clears at its exit without a look at whose it is.
#[async_context]
async fn slot(slot: Arc<Mutex<Option<u32>>>, mine: u32, looks: bool) -> Result<bool, Fault> {
    let is_free = {
        let mut slot = slot.lock().expect("nothing panics in here");
        let is_free = slot.is_none();
        if is_free {
            *slot = Some(mine);
        }
        is_free
    };
    let (is_mine, _) = yield_!(is_free);
    // In the background, the neighbour goes on meanwhile.
    pause(2).await;
    if is_mine {
        *slot.lock().expect("nothing panics in here") = None;
        pause(2).await;
        if !looks {
            *slot.lock().expect("nothing panics in here") = None;
        }
    }
    Ok(())
}

/// Retries, and then keeps the slot for a while.
async fn keep(shared: Arc<Mutex<Option<u32>>>, mine: u32, looks: bool) -> Result<(), Fault> {
    for _ in 0..20 {
        let used = slot(shared.clone(), mine, looks).with(async |is_mine: &mut bool| {
            for _ in 0..4 {
                pause(1).await;
                let holder = *shared.lock().expect("nothing panics in here");
                if *is_mine && holder != Some(mine) {
                    return Err(Fault("taken away"));
                }
            }
            Ok(*is_mine)
        });
        if used.await? {
            return Ok(());
        }
    }
    Err(Fault("never free"))
}

#[test]
fn a_clean_up_that_gets_in_a_neighbour_s_way_is_found_by_pairs_alone() {
    on_current_thread(async |_| {
        for looks in [true, false] {
            let shared = Arc::new(Mutex::new(None));
            let check =
                |run: &Run<_>| assert!(matches!(run.output(), None | Some(Ok(()))), "{run:?}");
            let alone = || keep(shared.clone(), 1, looks);
            assert!(cancel_everywhere(alone, check).await > 5);

            let found = RefCell::new(Vec::new());
            let pair = || {
                (
                    keep(shared.clone(), 1, looks),
                    keep(shared.clone(), 2, looks),
                )
            };
            let runs = cancel_pairs(pair, |run| {
                if run.outputs().1 == Some(&Err(Fault("taken away"))) {
                    found.borrow_mut().push(run.polls());
                }
            });
            assert!(runs.await > 50);
            let found = found.into_inner();
            assert_eq!(found.is_empty(), looks, "{found:?}");
            if let Some(polls) = found.first() {
                let run = cancel_pair_after(*polls, pair()).await;
                assert_eq!(run.outputs().1, Some(&Err(Fault("taken away"))));
                assert_eq!(run.polls(), *polls);
            }
        }
    });
}

#[test]
fn pairs_are_dropped_after_each_number_of_polls_of_one_and_of_the_other() {
    everywhere(async |_| {
        let seen = RefCell::new(Vec::new());
        let runs = cancel_pairs(
            || (pause(1).map(|()| 'a'), pause(2).map(|()| 'b')),
            |run| {
                let (a, b) = run.outputs();
                seen.borrow_mut()
                    .push((run.polls(), a.copied(), b.copied()));
                assert!(run.reports().is_empty());
            },
        )
        .await;
        assert_eq!(runs, 12);
        let seen = seen.into_inner();
        for a in 0..=2 {
            for b in 0..=3 {
                let expected = ((a, b), (a == 2).then_some('a'), (b == 3).then_some('b'));
                assert_eq!(seen[a * 4 + b], expected);
            }
        }
    });
}

#[test]
fn a_run_of_a_pair_has_the_reports_of_both() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let failing = |exit| {
            let script = Script::new("c", &ledger).exit(End::Fail(exit));
            generated(script).with(async |_| Ok(pause(9).await))
        };
        let run = cancel_pair_after((4, 5), (failing("first"), failing("second"))).await;
        let errors = run
            .reports()
            .iter()
            .map(|report| format!("{:?}", report.error()));
        let mut errors: Vec<_> = errors.collect();
        errors.sort();
        assert_eq!(
            errors,
            ["Some(Fault(\"first\"))", "Some(Fault(\"second\"))"]
        );
    });
}

#[test]
fn a_panic_in_a_pair_goes_on_when_the_other_has_gone() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let other = || generated(Script::new("c", &ledger)).with(async |_| Ok(pause(1).await));
        let panicking = async { drop(End::Panic("first").come()) };
        assert_eq!(
            panic_of(cancel_pair_after((9, 9), (panicking, other()))).await,
            "first"
        );
        assert_eq!(ledger.count("exit c: completed"), 1);
        let panicking = async { drop(End::Panic("second").come()) };
        assert_eq!(
            panic_of(cancel_pair_after((9, 9), (other(), panicking))).await,
            "second"
        );
    });
}

/// A rollback that fails takes the place of the error that it was for.
async fn careless_rollback(faults: Faults) -> Result<(), Injected> {
    let worked = async {
        pause(1).await;
        faults.point("work")
    };
    if let Err(error) = worked.await {
        faults.point("rollback")?;
        return Err(error);
    }
    faults.point("commit")
}

#[test]
fn an_error_in_the_code_that_deals_with_an_error_is_found() {
    on_current_thread(async |_| {
        let check = |run: &Run<Result<(), Injected>>| {
            if let Some(Err(error)) = run.output() {
                assert_ne!(error.name(), "rollback", "{run}: the first error is lost");
            }
        };
        let message = panic_of(inject_everywhere(careless_rollback, check)).await;
        assert!(message.contains("the first error is lost"), "{message}");

        let faults = [Injection::Error(1), Injection::Error(2)];
        let run = inject(&faults, careless_rollback).await;
        let error = run
            .output()
            .and_then(|output| output.err())
            .expect("it failed");
        assert_eq!((error.point(), error.name()), (2, "rollback"));
        assert_eq!(error.to_string(), "injected at point 2, `rollback`");
    });
}

#[test]
fn each_point_fails_and_panics_and_any_two_things_go_wrong_in_one_run() {
    on_current_thread(async |_| {
        let told = RefCell::new(Vec::new());
        let program = async |faults: Faults| {
            let first = faults.point("first").is_err();
            pause(1).await;
            (first, faults.point("second").is_err())
        };
        let runs = inject_everywhere(program, |run: &Run<(bool, bool)>| {
            let panic = run.panic().map(|panic| panic.message().to_owned());
            told.borrow_mut()
                .push((run.to_string(), run.output().copied(), panic));
        })
        .await;
        let ended = |first, second| {
            (
                "ended after 2 polls".to_owned(),
                Some((first, second)),
                None,
            )
        };
        let panicked = |polls: &str, point| {
            let message = format!("injected at point {point}");
            (format!("panicked after {polls}"), None, Some(message))
        };
        let dropped = |when: &str| (format!("dropped after {when}"), None, None);
        let expected = [
            ended(false, false),
            // One thing.
            ended(true, false),
            panicked("1 poll", "1, `first`"),
            ended(false, true),
            panicked("2 polls", "2, `second`"),
            dropped("0 polls"),
            dropped("1 poll"),
            dropped("1 poll, woken again"),
            // And another one after the first.
            ended(true, true),
            panicked("2 polls", "2, `second`"),
            dropped("1 poll"),
            dropped("1 poll, woken again"),
        ];
        assert_eq!(told.into_inner(), expected);
        assert_eq!(runs, expected.len());
    });
}

#[test]
fn two_points_of_an_exit_that_runs_after_its_program_both_fail_in_one_run() {
    #[async_context]
    async fn resource(faults: Faults, ledger: Ledger) -> Result<(), Injected> {
        yield_!(());
        let rollback = faults.point("rollback");
        let close = faults.point("close");
        ledger.note(format!("{} {}", rollback.is_err(), close.is_err()));
        rollback.and(close)
    }

    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let program = async |faults| drop(resource(faults, ledger.clone()).guard().await);
        inject_everywhere(program, |_| {}).await;
        for ended in ["false false", "true false", "false true", "true true"] {
            assert!(ledger.has(ended), "{ended}");
        }
    });
}

#[test]
fn points_are_reached_in_exits_after_a_drop_too() {
    #[async_context]
    async fn resource(faults: Faults) -> Result<(), Injected> {
        let ((), outcome) = yield_!(());
        faults.point(if outcome.is_cancelled() {
            "rollback"
        } else {
            "commit"
        })
    }

    on_current_thread(async |_| {
        let rollbacks = Cell::new(0);
        let program = |faults| resource(faults).with(async |()| Ok(pause(1).await));
        inject_everywhere(program, |run| {
            for report in run.reports() {
                assert_eq!(
                    report.kind(),
                    if run.is_cancelled() && report.panic().is_some() {
                        Kind::Panicked
                    } else {
                        Kind::ExitFailed
                    }
                );
                rollbacks.set(rollbacks.get() + 1);
            }
        })
        .await;
        // An error and a panic, in each of the runs that are dropped in the body.
        assert_eq!(rollbacks.get(), 4);
    });
}

/// It has something beside its body that comes to points, and to an end.
#[async_context]
async fn lease(ledger: Ledger, faults: Faults) -> Result<(), Injected> {
    let beside = async {
        let _gone = ledger.on_drop("not beside any more");
        sleep(Duration::from_secs(1)).await;
        faults.point("renew")?;
        sleep(Duration::from_secs(1)).await;
        faults.point("renew again")
    };
    let ((), outcome) = yield_!((), beside);
    let from = match outcome.error() {
        Some(error) if error.is_from_beside() => ", from beside",
        _ => "",
    };
    ledger.note(format!("exit: {outcome:?}{from}"));
    pause(1).await;
    ledger.note("exited");
    Ok(())
}

#[test]
fn a_program_is_dropped_while_something_waits_beside_its_body() {
    on_current_thread(async |_| {
        let current = RefCell::new(Ledger::default());
        let seen = RefCell::new(Vec::new());
        let start = || {
            let ledger = Ledger::default();
            current.replace(ledger.clone());
            lease(ledger, Faults::default()).with(async |()| {
                sleep(Duration::from_millis(1500)).await;
                Ok(())
            })
        };
        let check = |run: &Run<Result<(), Injected>>| {
            let ledger = current.borrow();
            let begun = usize::from(run.polls() > 0);
            assert_eq!(ledger.count("not beside any more"), begun, "{run}");
            assert_eq!(ledger.count("exited"), begun, "{run}");
            let exit = ledger.lines().into_iter().nth(1).unwrap_or_default();
            seen.borrow_mut().push((run.to_string(), exit));
            assert!(run.reports().is_empty(), "{run}");
        };
        let runs = cancel_everywhere(start, check).await;
        let of = |run: &str, exit: &str| (run.to_owned(), exit.to_owned());
        assert_eq!(
            seen.into_inner(),
            [
                of("dropped after 0 polls", ""),
                of("dropped after 1 poll", "exit: Cancelled"),
                // The first renewal is due.
                of("dropped after 1 poll, woken again", "exit: Cancelled"),
                of("dropped after 2 polls", "exit: Cancelled"),
                of("dropped after 2 polls, woken again", "exit: Cancelled"),
                of("dropped after 3 polls", "exit: Completed"),
                of("dropped after 3 polls, woken again", "exit: Completed"),
                of("ended after 4 polls", "exit: Completed"),
            ]
        );
        assert_eq!(runs, 8);
    });
}

#[test]
fn what_runs_beside_a_body_fails_and_panics_at_each_of_its_points() {
    on_current_thread(async |_| {
        let current = RefCell::new(Ledger::default());
        let seen = RefCell::new(Vec::new());
        let program = |faults: Faults| {
            let ledger = Ledger::default();
            current.replace(ledger.clone());
            lease(ledger, faults).with(async |()| pause_for_ever().await)
        };
        for fault in [
            Injection::Error(1),
            Injection::Panic(1),
            Injection::Error(2),
            Injection::Panic(2),
        ] {
            let run = inject(&[fault], program).await;
            let error = run.output().and_then(|it| it.as_ref().err());
            let error = error.map(ToString::to_string);
            let panic = run.panic().map(|panic| panic.message().to_owned());
            let ledger = current.borrow();
            assert!(run.reports().is_empty(), "{run}");
            assert_eq!(ledger.count("exited"), 1);
            let is_from_beside = ledger.lines()[1].ends_with("from beside");
            assert_eq!(is_from_beside, error.is_some());
            seen.borrow_mut().push(error.or(panic).expect("it ends"));
        }
        assert_eq!(
            seen.into_inner(),
            [
                "injected at point 1, `renew`",
                "injected at point 1, `renew`",
                "injected at point 2, `renew again`",
                "injected at point 2, `renew again`",
            ]
        );
    });
}

async fn pause_for_ever() -> Result<(), Injected> {
    pending().await
}

#[test]
fn a_body_is_ended_from_beside_at_each_of_its_polls() {
    #[async_context]
    async fn lost(faults: Faults, ledger: Ledger) -> Result<(), Injected> {
        let ((), outcome) = yield_!((), faults.beside("lost"));
        ledger.note(format!("{outcome:?}"));
        Ok(())
    }

    on_current_thread(async |_| {
        let current = RefCell::new(Ledger::default());
        let ended_at = RefCell::new(Vec::new());
        let program = |faults: Faults| {
            let ledger = Ledger::default();
            current.replace(ledger.clone());
            async move {
                let used = lost(faults, ledger.clone()).with(async |()| {
                    for line in ["one", "two", "three"] {
                        ledger.note(line);
                        pause(1).await;
                    }
                    Ok(())
                });
                used.await
            }
        };
        for point in 1..=4 {
            for fault in [Injection::Error(point), Injection::Panic(point)] {
                let run = inject(&[fault], program).await;
                assert!(run.reports().is_empty(), "{run}");
                ended_at.borrow_mut().push(current.borrow().lines().len());
            }
        }
        // The first point is in the poll that enter ends in: the body comes to its first wait.
        assert_eq!(ended_at.into_inner(), [2, 2, 2, 2, 3, 3, 4, 4]);

        // In all ways, and with drops.
        let runs = inject_everywhere(program, |run| {
            let lines = current.borrow().lines();
            let is_entered = run.polls() > 0;
            assert_eq!(lines.is_empty(), !is_entered, "{run}: {lines:?}");
        });
        // With nothing; with each of four points, in both ways; and dropped at seven moments.
        assert_eq!(runs.await, 16);
    });
}
