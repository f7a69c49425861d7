//! Tasks that do not outlive their context.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{
    async_with,
    contexts::{defer, tasks},
    detached,
    prelude::*,
};
use futures::FutureExt;
use tests::{
    End, Fault, Ledger, Script, Stage, cancel_at_every_poll, everywhere, generated, pause,
};
use tokio::runtime::Builder;
use tokio::sync::{Barrier, Notify};

/// A task that ends after a few polls, and notes it; also when it is dropped before.
async fn worker(ledger: Ledger, name: &'static str, end: End) -> Result<(), Fault> {
    let _gone = ledger.on_drop("gone");
    ledger.note(format!("{name} began"));
    pause(3).await;
    ledger.note(format!("{name} done"));
    end.come().map(|_| ())
}

#[test]
fn tasks_are_joined_when_the_body_completes_before_outer_exits_run() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let outer = generated(Script::new("outer", &ledger));
        let result = outer
            .with(async |_| {
                tasks()
                    .with(async |tasks| {
                        tasks.spawn(worker(ledger.clone(), "a", End::Ok));
                        tasks.spawn(worker(ledger.clone(), "b", End::Ok));
                        Ok(7)
                    })
                    .await
            })
            .await;
        assert_eq!(result, Ok(7));
        assert_eq!(ledger.count("gone"), 2);
        assert!(ledger.has("a done") && ledger.has("b done"));
        assert!(
            ledger
                .text()
                .ends_with("gone, exit outer: completed, exited outer")
        );
    });
}

#[test]
fn tasks_are_counted_while_they_run() {
    everywhere(async |_| {
        let used = tasks().with(async |tasks| {
            assert_eq!((tasks.len(), tasks.is_empty()), (0, true));
            let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            for end in [first.clone(), second.clone()] {
                tasks.spawn(async move { Ok::<_, Fault>(end.notified().await) });
            }
            assert_eq!((tasks.len(), tasks.is_empty()), (2, false));
            first.notify_one();
            while tasks.len() > 1 {
                pause(1).await;
            }
            second.notify_one();
            while !tasks.is_empty() {
                pause(1).await;
            }
            assert_eq!(tasks.len(), 0);
            Ok(())
        });
        assert_eq!(used.await, Ok(()));
    });
}

#[test]
fn tasks_are_aborted_and_gone_before_outer_exits_when_the_body_fails_or_panics() {
    everywhere(async |_| {
        for end in [End::Fail("b"), End::Panic("p")] {
            let ledger = Ledger::default();
            let begun = Arc::new(Barrier::new(3));
            let outer = generated(Script::new("outer", &ledger));
            let run = outer.with(async |_| {
                tasks()
                    .with(async |tasks| {
                        for _ in 0..2 {
                            let (ledger, begun) = (ledger.clone(), begun.clone());
                            tasks.spawn(async move {
                                let _gone = ledger.on_drop("gone");
                                begun.wait().await;
                                pending().await
                            });
                        }
                        begun.wait().await;
                        end.come()
                    })
                    .await
            });
            let ended = AssertUnwindSafe(run).catch_unwind().await;
            match end {
                End::Panic(_) => assert!(ended.is_err()),
                _ => assert_eq!(ended.expect("no panic"), Err(Fault("b"))),
            }
            let lines = ledger.lines();
            assert_eq!(lines[2..4], ["gone", "gone"], "{lines:?}");
            assert!(lines[4].starts_with("exit outer"));
        }
    });
}

#[test]
fn contexts_of_aborted_tasks_have_exited_before_outer_exits_run() {
    everywhere(async |_| {
        for is_guard in [false, true] {
            let ledger = Ledger::default();
            let begun = Arc::new(Notify::new());
            let make = |name| generated(Script::new(name, &ledger));
            let result = make("outer")
                .with(async |_| {
                    let result = tasks()
                        .with(async |tasks| {
                            let (first, second) = (make("first"), make("second"));
                            let inside = begun.clone();
                            tasks.spawn(async move {
                                if is_guard {
                                    let _first = first.guard().await?;
                                    let _second = second.guard().await?;
                                    inside.notify_one();
                                    pending().await
                                } else {
                                    async_with!(_ = first, _ = second => {
                                        inside.notify_one();
                                        pending().await
                                    })
                                }
                            });
                            begun.notified().await;
                            Err::<(), _>(Fault("b"))
                        })
                        .await;
                    assert!(ledger.has("exited first"), "{}", ledger.text());
                    result
                })
                .await;
            assert_eq!(result, Err(Fault("b")));
            ledger.check_nesting();
            assert!(ledger.has("exit second: cancelled"), "{}", ledger.text());
            assert!(ledger.text().ends_with("exited outer"));
        }
    });
}

#[test]
fn an_exit_that_a_finished_task_left_behind_has_ended_too() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let result = make("outer")
            .with(async |_| {
                tasks()
                    .with(async |tasks| {
                        let left = make("left");
                        tasks.spawn(async move {
                            let never = left.with(async |_| pending::<Result<(), _>>().await);
                            assert!(tests::poll_times(never, 4).await.is_none());
                            Ok(())
                        });
                        Ok(())
                    })
                    .await?;
                assert!(ledger.has("exited left"), "{}", ledger.text());
                Ok(())
            })
            .await;
        assert_eq!(result, Ok(()));
        ledger.check_nesting();
    });
}

/// Tells when it drops.
struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A detached exit in one task that ends only when another task is gone.
#[test]
fn tasks_are_aborted_without_a_wait_for_detached_exits_of_theirs() {
    everywhere(async |_| {
        let gone = Arc::new(Notify::new());
        let ready_to_fail = Arc::new(Notify::new());
        let result = tasks()
            .with(async |tasks| {
                let (wait, left) = (gone.clone(), ready_to_fail.clone());
                tasks.spawn(async move {
                    let waits = defer(async move |_: &Outcome| {
                        wait.notified().await;
                        Ok::<_, Fault>(())
                    });
                    let never = waits.with(async |()| pending::<Result<(), _>>().await);
                    assert!(tests::poll_times(never, 1).await.is_none());
                    left.notify_one();
                    pending().await
                });
                let tell = Tell(gone.clone());
                tasks.spawn(async move {
                    let _tell = tell;
                    pending().await
                });
                ready_to_fail.notified().await;
                Err::<(), _>(Fault("b"))
            })
            .await;
        assert_eq!(result, Err(Fault("b")));
    });
}

#[test]
fn the_first_error_of_a_task_is_that_of_exit_and_the_others_are_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let result = tasks()
            .with(async |tasks| {
                for (name, end) in [("a", End::Ok), ("b", End::Fail("x")), ("c", End::Fail("x"))] {
                    tasks.spawn(worker(ledger.clone(), name, end));
                }
                Ok(())
            })
            .await;
        assert_eq!(result, Err(Fault("x")));
        assert_eq!(ledger.count("gone"), 3, "all have ended");
        let reports = stage.reports();
        assert_eq!(reports, [(Kind::ExitFailed, "Fault(\"x\")".to_owned())]);
    });
}

#[test]
fn the_first_panic_of_a_task_goes_on_after_all_have_ended() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let run = tasks().with(async |tasks| {
            for end in [End::Panic("p"), End::Panic("p"), End::Fail("x"), End::Ok] {
                tasks.spawn(worker(ledger.clone(), "w", end));
            }
            Ok(())
        });
        let payload = AssertUnwindSafe(run)
            .catch_unwind()
            .await
            .expect_err("it panics");
        assert_eq!(payload.downcast_ref(), Some(&"p"));
        assert_eq!(ledger.count("gone"), 4);
        let mut reports = stage.reports();
        reports.sort_by_key(|(_, about)| about.clone());
        let expected = [
            (Kind::ExitFailed, "Fault(\"x\")".to_owned()),
            (Kind::Panicked, "p".to_owned()),
        ];
        assert_eq!(reports, expected);
    });
}

/// Regression: a group that lives as long as its server kept all errors, and told them at its end.
#[test]
fn errors_of_tasks_beyond_the_first_are_reported_when_they_happen_and_not_kept() {
    #[derive(Debug)]
    struct Counted(
        usize,
        #[expect(dead_code, reason = "it is counted")] Arc<()>,
    );

    everywhere(async |stage| {
        let token = Arc::new(());
        let result = tasks().with(async |tasks| {
            // Nobody asks the group for anything meanwhile.
            for number in 0..3 {
                let error = Counted(number, token.clone());
                tasks.spawn(async { Err(error) });
            }
            let mut reported = Vec::new();
            while reported.len() < 2 {
                pause(1).await;
                reported.extend(stage.reports());
            }
            assert!(reported.iter().all(|(kind, _)| *kind == Kind::ExitFailed));
            // The error drops after its report.
            while Arc::strong_count(&token) > 2 {
                pause(1).await;
            }

            for number in 3..500 {
                let error = Counted(number, token.clone());
                tasks.spawn(async { Err(error) });
            }
            while !tasks.is_empty() {
                pause(1).await;
            }
            assert_eq!(Arc::strong_count(&token), 2);
            assert_eq!(stage.reports().len(), 497);

            // A panic goes before an error.
            for _ in 0..2 {
                tasks.spawn(async { std::panic::resume_unwind(Box::new("p")) });
            }
            while !tasks.is_empty() {
                pause(1).await;
            }
            assert_eq!(stage.reports(), [(Kind::Panicked, "p".to_owned())]);
            let error = Counted(0, token.clone());
            tasks.spawn(async { Err(error) });
            while !tasks.is_empty() {
                pause(1).await;
            }
            assert_eq!(stage.reports().len(), 1);
            Ok(())
        });
        let payload = AssertUnwindSafe(result).catch_unwind().await;
        assert_eq!(payload.expect_err("it panics").downcast_ref(), Some(&"p"));
        assert_eq!(stage.reports().len(), 1, "the first error");
        assert_eq!(Arc::strong_count(&token), 1);

        // The first is kept for the caller.
        let error = Counted(0, token.clone());
        let result = tasks().with(async |tasks| {
            tasks.spawn(async { Err(error) });
            while !tasks.is_empty() {
                pause(1).await;
            }
            let error = Counted(1, token.clone());
            tasks.spawn(async { Err(error) });
            Ok(())
        });
        let Counted(number, _) = result.await.expect_err("it has failed");
        assert_eq!(number, 0);
        let second = "Counted(1, ())".to_owned();
        assert_eq!(stage.reports(), [(Kind::ExitFailed, second)]);
    });
}

#[test]
fn errors_of_tasks_are_reported_when_the_body_fails() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let result = tasks()
            .with(async |tasks| {
                tasks.spawn(worker(ledger.clone(), "a", End::Fail("x")));
                tasks.spawn(worker(ledger.clone(), "b", End::Panic("p")));
                while ledger.count("gone") < 2 {
                    pause(1).await;
                }
                while !tasks.is_empty() {
                    pause(1).await;
                }
                Err::<(), _>(Fault("b"))
            })
            .await;
        assert_eq!(result, Err(Fault("b")));
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
fn tasks_that_have_ended_leave_nothing_behind() {
    everywhere(async |_| {
        let result = tasks()
            .with(async |tasks| {
                for _ in 0..1000 {
                    tasks.spawn(async { Ok::<_, Fault>(()) });
                    pause(2).await;
                    while tasks.len() > 10 {
                        pause(1).await;
                    }
                }
                Ok(())
            })
            .await;
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn dropped_at_every_poll_no_task_is_left_when_the_outer_context_exits() {
    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger: Ledger| {
                let outer = generated(Script::new("outer", &ledger));
                let result = outer.with(async |_| {
                    tasks()
                        .with(async |tasks| {
                            for name in ["a", "b"] {
                                let context = generated(Script::new(name, &ledger));
                                let ledger = ledger.clone();
                                tasks.spawn(async move {
                                    ledger.note("task");
                                    let _gone = ledger.on_drop("gone");
                                    context.with(async |_| Ok(pause(3).await)).await
                                });
                            }
                            Ok(pause(4).await)
                        })
                        .await
                });
                result.await
            },
            |_, ended, ledger| {
                let lines = ledger.lines();
                assert_eq!(ledger.count("gone"), ledger.count("task"), "{lines:?}");
                assert_eq!(
                    ledger.count("entered "),
                    ledger.count("exited "),
                    "{lines:?}"
                );
                if ledger.has("entered outer") {
                    assert_eq!(
                        lines.last().map(String::as_str),
                        Some("exited outer"),
                        "{lines:?}"
                    );
                    let exit = lines.iter().position(|line| line.starts_with("exit outer"));
                    assert_eq!(exit, Some(lines.len() - 2), "{lines:?}");
                }
                assert!(ended.is_none_or(|result| result.is_ok()));
            },
        )
        .await;
    });
}

#[test]
fn an_exit_over_its_limit_aborts_the_tasks() {
    tests::on_current_thread(async |_| {
        let ledger = Ledger::default();
        let result = tasks::<Fault>()
            .exit_timeout(Duration::from_secs(1))
            .with(async |tasks| {
                let gone = ledger.on_drop("gone");
                tasks.spawn(async move {
                    let _gone = gone;
                    pending().await
                });
                Ok(())
            })
            .await;
        assert!(result.is_err_and(|error| error.is_elapsed()));
        ledger.until("gone").await;
    });
}

#[test]
fn without_a_tokio_runtime_tasks_run_on_the_thread_of_the_crate() {
    let _stage = Stage::alone();
    let ledger = Ledger::default();
    let result = futures::executor::block_on(tasks().with(async |tasks| {
        tasks.spawn(worker(ledger.clone(), "a", End::Ok));
        Ok(())
    }));
    assert_eq!(result, Ok(()));
    assert_eq!(ledger.text(), "a began, a done, gone");
}

#[test]
fn tasks_that_a_runtime_throws_away_are_reported() {
    let stage = Stage::alone();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("it starts");
    let guard = runtime.block_on(async {
        let guard = tasks::<Fault>().guard().await.expect("it enters");
        guard.spawn(pending());
        guard
    });
    drop(runtime);
    assert_eq!(futures::executor::block_on(Guard::close(guard)), Ok(()));
    assert_eq!(stage.reports(), [(Kind::Lost, String::new())]);
    assert_eq!(detached::count(), 0);
}
