//! How a group treats its tasks: what a failure ends, how many run, how they end, and what they
//! give.

use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{
    Body, TaskGroup, Tasks, TimeoutError, async_with,
    contexts::{join_all, ready, tasks},
    prelude::*,
};
use futures::FutureExt;
use tests::{
    End, Fault, Ledger, Script, Stage, cancel_at_every_poll, everywhere, generated,
    on_current_thread, pause, poll_times,
};
use tokio::sync::{Barrier, Notify, oneshot};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Never ends, and notes when it is gone.
async fn endless(ledger: Ledger) -> Result<(), Fault> {
    let _gone = ledger.on_drop("gone");
    ledger.note("endless began");
    pending().await
}

/// Ends so, after a second of the paused time.
async fn after(seconds: u32, end: End) -> Result<(), Fault> {
    sleep(SECOND * seconds).await;
    end.come().map(drop)
}

/// Uses the group in the body of a context.
async fn in_context<F>(
    ledger: &Ledger,
    group: TaskGroup<Fault>,
    body: F,
) -> Result<Result<(), Fault>, Box<dyn std::any::Any + Send>>
where
    F: for<'a> Body<&'a mut Tasks<Fault>, Result<(), Fault>>,
{
    let outer = generated(Script::new("outer", ledger));
    let used = outer.with_local(async |_| group.with_local(body).await);
    AssertUnwindSafe(used).catch_unwind().await
}

// The first failure.

#[test]
fn the_first_failure_of_a_task_ends_the_body_and_the_other_tasks() {
    everywhere(async |stage| {
        for end in [End::Fail("x"), End::Panic("p")] {
            let ledger = Ledger::default();
            let ended = in_context(&ledger, tasks().fail_fast(), async |tasks| {
                let inner = generated(Script::new("inner", &ledger));
                let fail = Arc::new(Notify::new());
                let begin = fail.clone();
                tasks.spawn(endless(ledger.clone()));
                tasks.spawn(async move {
                    begin.notified().await;
                    end.come().map(drop)
                });
                ledger.until("endless began").await;
                inner
                    .with_local(async |_| {
                        fail.notify_one();
                        pending().await
                    })
                    .await
            })
            .await;
            if let End::Panic(_) = end {
                let payload = ended.expect_err("it panics");
                assert_eq!(payload.downcast_ref(), Some(&"p"));
                assert!(ledger.has("exit outer: panicked(p)"), "{}", ledger.text());
            } else {
                assert_eq!(ended.expect("no panic"), Err(Fault("x")));
                assert!(ledger.has("exit inner: cancelled"), "{}", ledger.text());
            }
            let lines = ledger.lines();
            let at = |start: &str| lines.iter().position(|line| line.starts_with(start));
            assert!(at("gone") < at("exit outer"), "{lines:?}");
            assert!(at("exited inner") < at("exit outer"), "{lines:?}");
            assert_eq!(stage.reports(), []);
        }
    });
}

#[test]
fn what_fails_after_the_first_failure_is_reported() {
    /// Panics when it drops.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }

    everywhere(async |stage| {
        let begun = Arc::new(Barrier::new(3));
        let result = tasks()
            .fail_fast()
            .grace(SECOND * 3600)
            .with(async |tasks| {
                for _ in 0..2 {
                    let (begun, told) = (begun.clone(), tasks.told());
                    tasks.spawn(async move {
                        begun.wait().await;
                        told.await;
                        Err(Fault("late"))
                    });
                }
                let begun = begun.clone();
                tasks.spawn(async move {
                    begun.wait().await;
                    Err(Fault("first"))
                });
                pending::<Result<(), _>>().await
            })
            .await;
        assert_eq!(result, Err(Fault("first")));
        let late = (Kind::ExitFailed, "Fault(\"late\")".to_owned());
        assert_eq!(stage.reports(), [late.clone(), late]);

        let result = tasks()
            .fail_fast()
            .with(async |tasks| {
                let (send, begun) = oneshot::channel();
                tasks.spawn(async {
                    let _bomb = Bomb;
                    send.send(()).ok();
                    pending().await
                });
                begun.await.expect("it begins");
                tasks.spawn(async { Err(Fault("first")) });
                pending::<Result<(), _>>().await
            })
            .await;
        assert_eq!(result, Err(Fault("first")));
        assert_eq!(stage.reports(), [(Kind::Panicked, "bomb".to_owned())]);

        // While exit waits, too: the panic is the later one.
        let result = tasks()
            .fail_fast()
            .with(async |tasks| {
                let (send, begun) = oneshot::channel();
                tasks.spawn(async {
                    let _bomb = Bomb;
                    send.send(()).ok();
                    pending().await
                });
                begun.await.expect("it begins");
                let told = tasks.told();
                tasks.spawn(async {
                    told.await;
                    Err(Fault("first"))
                });
                Ok(())
            })
            .await;
        assert_eq!(result, Err(Fault("first")));
        assert_eq!(stage.reports(), [(Kind::Panicked, "bomb".to_owned())]);
    });
}

#[test]
fn a_task_that_fails_while_exit_waits_ends_the_other_tasks() {
    everywhere(async |stage| {
        for end in [End::Fail("x"), End::Panic("p")] {
            let ledger = Ledger::default();
            let told = Arc::new(Notify::new());
            let ended = in_context(&ledger, tasks().fail_fast(), async |tasks| {
                tasks.spawn(endless(ledger.clone()));
                let token = tasks.told();
                tasks.spawn(async move {
                    token.await;
                    pause(2).await;
                    end.come().map(drop)
                });
                told.notify_one();
                ledger.until("endless began").await;
                Ok(())
            })
            .await;
            match ended {
                Ok(result) => assert_eq!(result, Err(Fault("x"))),
                Err(payload) => assert_eq!(payload.downcast_ref(), Some(&"p")),
            }
            assert_eq!(ledger.count("gone"), 1);
            assert_eq!(stage.reports(), []);
        }
    });
}

#[test]
fn a_body_that_completes_when_a_task_has_just_failed_gets_the_error() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let result = tasks()
            .fail_fast()
            .with(async |tasks| {
                tasks.spawn(endless(ledger.clone()));
                let failing = ledger.clone();
                tasks.spawn(async move {
                    failing.note("fails");
                    Err(Fault("x"))
                });
                // It is polled before what runs beside it.
                while !ledger.has("fails") {
                    pause(1).await;
                }
                Ok(1)
            })
            .await;
        assert_eq!(result, Err(Fault("x")));
        assert_eq!(ledger.count("gone"), 1);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn the_error_of_the_body_comes_before_those_of_tasks() {
    everywhere(async |stage| {
        let result = tasks()
            .fail_fast()
            .grace(SECOND * 3600)
            .with(async |tasks| {
                let told = tasks.told();
                tasks.spawn(async {
                    told.await;
                    Err(Fault("task"))
                });
                Err::<(), _>(Fault("body"))
            })
            .await;
        assert_eq!(result, Err(Fault("body")));
        let expected = (Kind::ExitFailed, "Fault(\"task\")".to_owned());
        assert_eq!(stage.reports(), [expected]);
    });
}

#[test]
fn a_group_that_is_failing_under_a_guard_runs_no_more_tasks() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let guard = tasks().fail_fast().guard().await.expect("it enters");
        guard.spawn(endless(ledger.clone()));
        guard.background(endless(ledger.clone()));
        while ledger.count("endless began") < 2 {
            pause(1).await;
        }
        guard.spawn(async { Err(Fault("x")) });
        Guard::ended(&guard).await;
        // They are aborted although the body goes on.
        while ledger.count("gone") < 2 {
            pause(1).await;
        }
        let task = |name: &'static str| {
            let ledger = ledger.clone();
            async move { Ok(ledger.note(name)) }
        };
        guard.spawn(task("spawned"));
        guard.background(task("in the background"));
        guard.reserve().await.spawn(task("with a slot"));
        assert_eq!(guard.spawn_with_handle(task("with a handle")).await, None);
        assert!(guard.told().is_told());
        assert_eq!(Guard::exit(guard, Ok(())).await, Err(Fault("x")));
        assert_eq!(ledger.lines().len(), 4, "{}", ledger.text());
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn code_that_runs_while_a_failure_is_reported_may_ask_the_group() {
    type Group = Arc<Guard<TaskGroup<Fault>>>;

    /// It panics when it drops. The payload of that panic asks the group when it drops.
    struct Bomb(Option<Payload>);
    struct Payload(Group, Ledger);

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(self.0.take());
        }
    }

    impl Drop for Payload {
        fn drop(&mut self) {
            self.1.note(format!("{} tasks", self.0.len()));
        }
    }

    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let group = tasks().fail_fast().guard().await.expect("it enters");
        let group = Arc::new(group);
        let bomb = Bomb(Some(Payload(Arc::clone(&group), ledger.clone())));
        group.spawn(async move {
            let _bomb = bomb;
            pending().await
        });
        group.spawn(async { Err(Fault("x")) });
        Guard::ended(&group).await;
        pause(10).await;
        assert_eq!(group.len(), 0);
        assert_eq!(ledger.text(), "0 tasks");
        let group = Arc::into_inner(group).expect("the payload has dropped");
        assert_eq!(Guard::close(group).await, Err(Fault("x")));
        let reports = stage.reports().into_iter().map(|(kind, _)| kind);
        assert_eq!(reports.collect::<Vec<_>>(), [Kind::Panicked]);
    });
}

#[test]
fn a_task_that_fails_while_exit_waits_for_its_turn_fails_the_body() {
    #[async_context]
    async fn slow() -> Result<(), Fault> {
        let ((), _) = yield_!(());
        sleep(SECOND * 5).await;
        Ok(())
    }

    /// Spawns a task that fails after two seconds, and gives a context up that exits in five.
    async fn begin(tasks: &Tasks<Fault>, end: End) -> Result<(), Fault> {
        tasks.spawn(after(2, end));
        tasks.spawn(pending());
        drop(slow().guard().await?);
        Ok(())
    }

    on_current_thread(async |stage| {
        let group = || tasks().fail_fast();
        let failed = Err(Fault("x"));
        let body = async |tasks: &mut Tasks<_>| begin(tasks, End::Fail("x")).await;
        assert_eq!(group().with(body).await, failed);
        let body = async |tasks: &mut Tasks<_>| begin(tasks, End::Fail("x")).await;
        assert_eq!(group().err_into::<Fault>().boxed().with(body).await, failed);
        let limited = group().exit_timeout(SECOND * 60);
        let body = async |tasks: &mut Tasks<_>| Ok(begin(tasks, End::Fail("x")).await?);
        let ended = limited.with(body).await;
        assert!(matches!(ended, Err(TimeoutError::Context(Fault("x")))));

        let guard = group().guard().await.expect("it enters");
        begin(&guard, End::Fail("x")).await.expect("it begins");
        assert_eq!(Guard::close(guard).await, failed);

        // The exit is polled when the task has failed.
        let guard = group().guard().await.expect("it enters");
        begin(&guard, End::Fail("x")).await.expect("it begins");
        let exit = Guard::exit_as(guard, &Outcome::Completed);
        sleep(SECOND * 3).await;
        assert_eq!(exit.await, failed);

        let stack = ExitStack::<Fault>::new();
        let tasks = stack.enter(group()).await.expect("it enters");
        begin(&tasks, End::Fail("x")).await.expect("it begins");
        drop(tasks);
        assert_eq!(stack.exit(Ok(())).await, failed);

        let body = async |tasks: &mut Tasks<_>| begin(tasks, End::Panic("p")).await;
        let ended = AssertUnwindSafe(group().with(body)).catch_unwind().await;
        assert_eq!(
            *ended
                .expect_err("it panics")
                .downcast::<&str>()
                .expect("a text"),
            "p"
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_member_of_a_join_that_fails_while_it_waits_to_exit_fails_the_join() {
    on_current_thread(async |stage| {
        let group = || tasks().fail_fast();
        let ledger = Ledger::default();
        let groups = join_all([group(), group()]).limit(1);
        let used = groups.with(async |groups| {
            groups[0].spawn(after(5, End::Ok));
            groups[1].spawn(after(2, End::Fail("x")));
            groups[1].spawn(endless(ledger.clone()));
            Ok(())
        });
        let begun = Instant::now();
        assert_eq!(used.await, Err(Fault("x")));
        assert_eq!(begun.elapsed(), SECOND * 5);

        // The exit of a context sees the error of the future beside its own body.
        #[async_context]
        async fn renewed(ledger: Ledger, fails: bool) -> Result<(), Fault> {
            let beside = async move {
                sleep(SECOND).await;
                if fails { Err(Fault("lost")) } else { Ok(()) }
            };
            let ((), outcome) = yield_!((), beside);
            ledger.note(format!("{outcome:?}"));
            sleep(SECOND * 3).await;
            Ok(())
        }
        let ledger = Ledger::default();
        let members = [false, true].map(|fails| renewed(ledger.clone(), fails));
        let used = join_all(members).limit(1).with(async |_| Ok(()));
        assert_eq!(used.await, Err(Fault("lost")));
        assert_eq!(ledger.text(), "Completed, Failed(Fault(\"lost\"))");
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_failure_ends_the_body_of_its_group_and_of_those_inside() {
    on_current_thread(async |stage| {
        for outer_fails in [true, false] {
            let (outer, inner) = if outer_fails { (1, 9) } else { (9, 1) };
            let begun = Instant::now();
            let result = tasks()
                .fail_fast()
                .with(async |group| {
                    group.spawn(after(outer, End::Fail("outer")));
                    let result = tasks()
                        .fail_fast()
                        .with(async |group| {
                            group.spawn(after(inner, End::Fail("inner")));
                            pending::<Result<(), _>>().await
                        })
                        .await;
                    assert_eq!(result, Err(Fault("inner")));
                    result
                })
                .await;
            let error = if outer_fails { "outer" } else { "inner" };
            assert_eq!(result, Err(Fault(error)));
            assert_eq!(begun.elapsed(), SECOND);
            assert_eq!(stage.reports(), []);
        }
    });
}

#[test]
fn the_error_of_a_task_is_given_and_that_of_an_exit_inside_is_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let database = generated(Script::new("database", &ledger).exit(End::Fail("exit")));
        let result = tasks()
            .fail_fast()
            .with(async |tasks| {
                let body = async |_: &mut _| {
                    tasks.spawn(async { Err(Fault("task")) });
                    pending::<Result<(), _>>().await
                };
                database.with(body).await
            })
            .await;
        assert_eq!(result, Err(Fault("task")));
        assert!(ledger.has("exit database: cancelled"), "{}", ledger.text());
        let expected = (Kind::ExitFailed, "Fault(\"exit\")".to_owned());
        assert_eq!(stage.reports(), [expected]);
    });
}

#[test]
fn a_group_that_fails_fast_and_is_entered_by_hand_without_beside_says_so() {
    everywhere(async |stage| {
        let mut group = tasks::<Fault>().fail_fast();
        let value = group.enter().await.expect("it enters");
        value.spawn(async { Err(Fault("x")) });
        assert_eq!(
            group.exit(value, &Outcome::Completed).await,
            Err(Fault("x"))
        );
        assert_eq!(stage.reports(), [(Kind::BesideNotRun, String::new())]);

        let mut group = tasks::<Fault>();
        let value = group.enter().await.expect("it enters");
        assert_eq!(group.exit(value, &Outcome::Completed).await, Ok(()));
        assert_eq!(stage.reports(), []);
    });
}

// The limit.

#[test]
fn no_more_tasks_run_at_a_time_than_the_limit_says() {
    everywhere(async |_| {
        for (limit, expected) in [(0, 1), (1, 1), (3, 3), (usize::MAX, 10)] {
            let running = Arc::new(AtomicUsize::new(0));
            let most = Arc::new(AtomicUsize::new(0));
            let ended = Arc::new(AtomicUsize::new(0));
            let result = tasks::<Fault>()
                .limit(limit)
                .with(async |tasks| {
                    for _ in 0..10 {
                        let (running, most, ended) = (running.clone(), most.clone(), ended.clone());
                        tasks.spawn(async move {
                            most.fetch_max(
                                running.fetch_add(1, Ordering::SeqCst) + 1,
                                Ordering::SeqCst,
                            );
                            pause(5).await;
                            running.fetch_sub(1, Ordering::SeqCst);
                            ended.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        });
                    }
                    Ok(())
                })
                .await;
            assert_eq!(result, Ok(()));
            assert_eq!(ended.load(Ordering::SeqCst), 10);
            let most = most.load(Ordering::SeqCst);
            assert!((1..=expected).contains(&most), "{most} of {expected}");
        }
    });
}

#[test]
fn tasks_that_wait_for_their_turn_begin_in_order_and_never_where_they_are_aborted() {
    on_current_thread(async |_| {
        for is_aborted in [false, true] {
            let ledger = Ledger::default();
            let result = tasks()
                .limit(1)
                .with(async |tasks| {
                    for name in ["a", "b", "c"] {
                        let ledger = ledger.clone();
                        tasks.spawn(async move {
                            ledger.note(name);
                            Ok(sleep(SECOND).await)
                        });
                    }
                    assert_eq!(tasks.len(), 3);
                    sleep(SECOND / 2).await;
                    if is_aborted { Err(Fault("b")) } else { Ok(()) }
                })
                .await;
            assert_eq!(result.is_err(), is_aborted);
            let expected = if is_aborted { "a" } else { "a, b, c" };
            assert_eq!(ledger.text(), expected);
        }
    });
}

#[test]
fn a_spawn_that_reserves_waits_for_room_and_leaves_the_queue_when_it_drops() {
    on_current_thread(async |_| {
        let result = tasks::<Fault>()
            .limit(2)
            .with(async |tasks| {
                let begun = Instant::now();
                for number in 0..4 {
                    let slot = tasks.reserve().await;
                    assert_eq!(begun.elapsed(), SECOND * (number / 2));
                    slot.spawn(after(1, End::Ok));
                }
                // Both slots are taken: who gives up is not waited for.
                assert!(poll_times(tasks.reserve(), 3).await.is_none());
                drop(tasks.reserve().await);
                let value = tasks.reserve().await.spawn_with_handle(async { Ok(1) });
                assert_eq!(begun.elapsed(), SECOND * 2);
                assert_eq!(value.await, Some(1));
                // The background needs no slot.
                for _ in 0..3 {
                    tasks.background(pending());
                }
                let (first, second) = (tasks.reserve().await, tasks.reserve().await);
                drop((first, second));
                Ok(())
            })
            .await;
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn a_body_that_waits_for_room_is_ended_by_the_failure_of_a_task() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let result = tasks()
            .limit(1)
            .fail_fast()
            .with(async |tasks| {
                let never = ledger.clone();
                tasks.background(async { Err(Fault("x")) });
                tasks.spawn(pending());
                let slot = tasks.reserve().await;
                slot.spawn(async move { Ok(never.note("ran")) });
                pending::<Result<(), _>>().await
            })
            .await;
        assert_eq!(result, Err(Fault("x")));
        assert!(!ledger.has("ran"));
    });
}

// Values.

#[test]
fn a_handle_gives_the_value_of_a_task_before_and_after_the_end_of_the_group() {
    everywhere(async |_| {
        let values = tasks::<Fault>()
            .with(async |tasks| {
                let first = tasks.spawn_with_handle(async { Ok(1) });
                assert_eq!(first.await, Some(1));
                let second = tasks.spawn_with_handle(async {
                    pause(3).await;
                    Ok("two")
                });
                Ok((second, tasks.spawn_with_handle(async { Ok(3) })))
            })
            .await;
        let (second, third) = values.expect("all end well");
        assert_eq!((second.await, third.await), (Some("two"), Some(3)));
    });
}

#[test]
fn a_handle_of_a_task_that_gives_nothing_says_so_and_the_failure_is_the_groups() {
    everywhere(async |stage| {
        let mut aborted = None;
        let result = tasks()
            .with_local(async |tasks| {
                let failed = tasks.spawn_with_handle(async { Err::<u32, _>(Fault("x")) });
                assert_eq!(failed.await, None);
                let panicked = tasks.spawn_with_handle(async { End::Panic("p").come().map(drop) });
                assert_eq!(panicked.await, None);
                aborted = Some(tasks.spawn_with_handle(pending::<Result<u32, _>>()));
                Err::<(), _>(Fault("b"))
            })
            .await;
        assert_eq!(result, Err(Fault("b")));
        assert_eq!(aborted.expect("it was spawned").await, None);
        let mut reports = stage.reports();
        reports.sort_by_key(|(_, about)| about.clone());
        let expected = [
            (Kind::ExitFailed, "Fault(\"x\")".to_owned()),
            (Kind::Panicked, "p".to_owned()),
        ];
        assert_eq!(reports, expected);
    });
}

#[test]
fn a_task_whose_handle_drops_goes_on_and_nothing_is_kept_of_what_has_ended() {
    everywhere(async |_| {
        let token = Arc::new(());
        let result = tasks::<Fault>()
            .limit(7)
            .with(async |tasks| {
                for _ in 0..500 {
                    let (value, other) = (token.clone(), token.clone());
                    drop(
                        tasks.spawn_with_handle(async move { Ok(pause(1).await).map(|()| value) }),
                    );
                    tasks.background(async move {
                        drop(other);
                        Ok(())
                    });
                }
                while !tasks.is_empty() || Arc::strong_count(&token) > 1 {
                    pause(1).await;
                }
                Ok(())
            })
            .await;
        assert_eq!(result, Ok(()));
        assert_eq!(Arc::strong_count(&token), 1);
    });
}

#[test]
fn a_value_that_panics_when_it_drops_is_a_panic_of_its_task() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }

    everywhere(async |_| {
        let used = tasks::<Fault>().with(async |tasks| {
            drop(tasks.spawn_with_handle(async { Ok(Bomb) }));
            Ok(())
        });
        let payload = AssertUnwindSafe(used).catch_unwind().await;
        let payload = payload.expect_err("it panics");
        assert_eq!(payload.downcast_ref(), Some(&"bomb"));
    });
}

// The end.

#[test]
fn tasks_are_told_before_they_are_aborted_however_the_body_ends() {
    on_current_thread(async |stage| {
        for end in [End::Ok, End::Fail("b"), End::Panic("p")] {
            let ledger = Ledger::default();
            let begun = Instant::now();
            let group = tasks().grace(SECOND * 5);
            let ended = in_context(&ledger, group, async |tasks| {
                for seconds in [1, 2] {
                    let (told, ledger) = (tasks.told(), ledger.clone());
                    tasks.spawn(async move {
                        told.clone().await;
                        assert!(told.is_told());
                        sleep(SECOND * seconds).await;
                        Ok(ledger.note("goodbye"))
                    });
                }
                sleep(SECOND).await;
                assert!(!tasks.told().is_told());
                end.come().map(drop)
            })
            .await;
            assert_eq!(ended.is_err(), matches!(end, End::Panic(_)));
            assert_eq!(begun.elapsed(), SECOND * 3, "no longer than it takes");
            assert_eq!(ledger.count("goodbye"), 2);
            assert_eq!(stage.reports(), []);
        }
    });
}

#[test]
fn tasks_that_are_left_when_the_grace_is_over_are_aborted_and_joined() {
    on_current_thread(async |stage| {
        for end in [End::Ok, End::Fail("b")] {
            let ledger = Ledger::default();
            let begun = Instant::now();
            let group = tasks().grace(SECOND * 5);
            let ended = in_context(&ledger, group, async |tasks| {
                let inside = generated(Script::new("inside", &ledger));
                tasks.spawn(async move { inside.with(async |_| pending().await).await });
                tasks.spawn(endless(ledger.clone()));
                ledger.until("entered inside").await;
                ledger.until("endless began").await;
                end.come().map(drop)
            })
            .await;
            assert_eq!(begun.elapsed(), SECOND * 5);
            let lines = ledger.lines();
            let at = |start: &str| lines.iter().position(|line| line.starts_with(start));
            assert!(
                at("gone").is_some() && at("gone") < at("exit outer"),
                "{lines:?}"
            );
            assert!(at("exited inside") < at("exit outer"), "{lines:?}");
            if end == End::Ok {
                assert_eq!(ended.expect("no panic"), Ok(()));
                assert_eq!(stage.reports(), [(Kind::TimedOut, String::new())]);
            } else {
                assert_eq!(ended.expect("no panic"), Err(Fault("b")));
                assert_eq!(stage.reports(), []);
            }
        }
    });
}

#[test]
fn the_grace_counts_from_the_first_failure() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let begun = Instant::now();
        let mut script = Script::new("inner", &ledger);
        script.exits_in = SECOND * 3;
        let result = tasks()
            .fail_fast()
            .grace(SECOND * 5)
            .with(async |tasks| {
                tasks.spawn(endless(ledger.clone()));
                tasks.spawn(after(1, End::Fail("x")));
                generated(script)
                    .with(async |_| pending::<Result<(), _>>().await)
                    .await
            })
            .await;
        assert_eq!(result, Err(Fault("x")));
        assert_eq!(begun.elapsed(), SECOND * 6);
        assert_eq!(ledger.count("gone"), 1);
    });
}

#[test]
fn a_token_is_told_once_its_group_is_gone_and_to_each_who_waits() {
    everywhere(async |stage| {
        let told = tasks::<Fault>()
            .with(async |tasks| {
                let told = tasks.told();
                assert!(poll_times(told.clone(), 3).await.is_none());
                Ok(told)
            })
            .await;
        let told = told.expect("it ends well");
        assert!(told.is_told());
        futures::join!(told.clone(), told.clone(), told);

        // A group that nobody exits.
        let mut group = tasks::<Fault>();
        let value = group.enter().await.expect("it enters");
        let told = value.told();
        assert!(!told.is_told());
        drop((value, group));
        told.await;
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
    });
}

#[test]
fn a_background_task_ends_with_the_body_however_the_body_ends() {
    everywhere(async |stage| {
        for end in [End::Ok, End::Fail("b"), End::Panic("p")] {
            for grace in [None, Some(SECOND * 3600)] {
                let ledger = Ledger::default();
                let group = match grace {
                    Some(grace) => tasks().grace(grace),
                    None => tasks(),
                };
                let ended = in_context(&ledger, group, async |tasks| {
                    let reader = generated(Script::new("reader", &ledger));
                    tasks.background(async move { reader.with(async |_| pending().await).await });
                    tasks.background(endless(ledger.clone()));
                    ledger.until("entered reader").await;
                    ledger.until("endless began").await;
                    assert!(tasks.is_empty());
                    end.come().map(drop)
                })
                .await;
                assert_eq!(ended.is_err(), matches!(end, End::Panic(_)));
                let lines = ledger.lines();
                let at = |start: &str| lines.iter().position(|line| line.starts_with(start));
                assert!(
                    at("gone").is_some() && at("gone") < at("exit outer"),
                    "{lines:?}"
                );
                assert!(at("exited reader") < at("exit outer"), "{lines:?}");
                assert!(ledger.has("exit reader: cancelled"));
                assert_eq!(stage.reports(), []);
            }
        }
    });
}

/// Regression: the exit waited for a loop that reads for ever.
#[test]
fn a_loop_that_reads_for_ever_in_the_background_does_not_keep_exit_waiting() {
    everywhere(async |_| {
        let (send, mut receive) = tokio::sync::mpsc::channel(1);
        let result = async_with!(
            background = tasks::<Fault>(),
            channel = ready(send)
            => {
                background.background(async move {
                    while receive.recv().await.is_some() {}
                    pending().await
                });
                channel.send(1).await.expect("somebody reads");
                Ok(())
            }
        );
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn the_failure_of_a_background_task_counts_like_any_other() {
    everywhere(async |_| {
        let result = tasks()
            .fail_fast()
            .with(async |tasks| {
                tasks.background(async { Err(Fault("x")) });
                pending::<Result<(), _>>().await
            })
            .await;
        assert_eq!(result, Err(Fault("x")));

        let ledger = Ledger::default();
        let result = tasks()
            .with(async |tasks| {
                let failed = ledger.on_drop("failed");
                tasks.background(async {
                    let _failed = failed;
                    Err(Fault("x"))
                });
                ledger.until("failed").await;
                Ok(())
            })
            .await;
        assert_eq!(result, Err(Fault("x")));
    });
}

#[test]
fn an_exit_over_its_limit_aborts_tasks_of_every_kind() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let result = tasks::<Fault>()
            .grace(SECOND * 60)
            .exit_timeout(SECOND)
            .with(async |tasks| {
                tasks.spawn(endless(ledger.clone()));
                tasks.background(endless(ledger.clone()));
                while ledger.count("endless began") < 2 {
                    pause(1).await;
                }
                Ok(())
            })
            .await;
        assert!(result.is_err_and(|error| error.is_elapsed()));
        while ledger.count("gone") < 2 {
            pause(1).await;
        }
    });
}

// Everywhere.

/// All that a group can do at once.
async fn busy(ledger: Ledger, group: TaskGroup<Fault>, last: End) -> Result<(), Fault> {
    let outer = generated(Script::new("outer", &ledger));
    outer
        .with(async |_| {
            let body = async |tasks: &mut Tasks<Fault>| {
                let task = |name| {
                    let context = generated(Script::new(name, &ledger));
                    let ledger = ledger.clone();
                    async move {
                        ledger.note("task");
                        let _gone = ledger.on_drop("gone");
                        context.with(async |_| Ok(pause(3).await)).await
                    }
                };
                tasks.spawn(task("a"));
                tasks.background(task("b"));
                let value = tasks.reserve().await.spawn_with_handle(task("c"));
                let told = tasks.told();
                tasks.spawn(async move {
                    told.await;
                    pause(1).await;
                    last.come().map(drop)
                });
                value.await;
                Ok(pause(2).await)
            };
            group.with(body).await
        })
        .await
}

#[test]
fn a_group_with_any_policy_can_be_dropped_at_every_poll() {
    let hour = SECOND * 3600;
    let groups: [fn(Duration) -> TaskGroup<Fault>; 6] = [
        |_| tasks(),
        |_| tasks().fail_fast(),
        |_| tasks().limit(1),
        |hour| tasks().grace(hour),
        |hour| tasks().fail_fast().limit(1).grace(hour),
        |_| tasks().fail_fast().limit(2),
    ];
    everywhere(async |stage| {
        for group in groups {
            for last in [End::Ok, End::Fail("x")] {
                cancel_at_every_poll(
                    stage,
                    async |ledger: Ledger| busy(ledger, group(hour), last).await,
                    |_, ended, ledger| {
                        let lines = ledger.lines();
                        assert_eq!(ledger.count("gone"), ledger.count("task"), "{lines:?}");
                        let entered = ledger.count("entered ");
                        assert_eq!(entered, ledger.count("exited "), "{lines:?}");
                        if ledger.has("entered outer") {
                            let exit = lines.iter().position(|line| line.starts_with("exit outer"));
                            assert_eq!(exit, Some(lines.len() - 2), "{lines:?}");
                        }
                        let finished = ended.is_some();
                        match (ended, last) {
                            (Some(result), End::Fail(error)) => {
                                assert_eq!(result, Err(Fault(error)));
                            }
                            (Some(result), _) => assert_eq!(result, Ok(())),
                            (None, _) => {}
                        }
                        // The error comes once: to the caller, or in a report.
                        let reports = stage.reports();
                        assert!(reports.len() <= usize::from(!finished), "{reports:?}");
                        for (kind, about) in reports {
                            let kinds = [Kind::ExitFailed, Kind::BodyFailed];
                            assert!(kinds.contains(&kind), "{kind:?} {about}");
                        }
                    },
                )
                .await;
            }
        }
    });
}

#[test]
fn without_a_tokio_runtime_the_policies_hold_too() {
    let _stage = Stage::alone();
    let ledger = Ledger::default();
    let fail_fast = tasks()
        .fail_fast()
        .limit(2)
        .grace(SECOND * 3600)
        .with(async |tasks| {
            let told = tasks.told();
            tasks.spawn(async move { Ok(told.await) });
            tasks.background(endless(ledger.clone()));
            ledger.until("endless began").await;
            let slot = tasks.reserve().await;
            slot.spawn(async { Err(Fault("x")) });
            pending::<Result<(), _>>().await
        });
    assert_eq!(futures::executor::block_on(fail_fast), Err(Fault("x")));
    assert_eq!(ledger.count("gone"), 1);
}

#[test]
fn the_futures_of_groups_and_what_they_give_are_send_and_belong_to_nobody() {
    fn check<T: Send + 'static>(value: T) -> T {
        value
    }

    fn is_sync<T: Sync>(value: T) -> T {
        value
    }

    fn is_future<F: Future>(future: F) -> F {
        future
    }

    on_current_thread(async |_| {
        let group = is_sync(check(tasks::<Fault>().fail_fast()));
        let used = check(group.with(async |tasks| {
            let told = is_sync(check(is_future(tasks.told())));
            let handle = is_sync(check(is_future(tasks.spawn_with_handle(async { Ok(1) }))));
            let _slot = tasks.reserve().await;
            pause(1).await;
            drop((told, handle));
            Ok(())
        }));
        assert_eq!(used.await, Ok(()));
    });
}
