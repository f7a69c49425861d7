//! Limits that end a body: `deadline`, `until` and `body_timeout`.

use std::future::{pending, ready as now};
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::report::Kind;
use async_context_manager::{
    Deadline, Elapsed, Lease, Phase, TimeoutError, async_with, deadline, detached, join, ready,
    suppress, tasks, until,
};
use tests::{Fault, Ledger, on_current_thread, poll_times};
use tokio::sync::oneshot;
use tokio::time::{Instant, advance, sleep, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

async fn endless() -> Result<(), Elapsed> {
    pending().await
}

/// A context whose exit takes a while.
#[async_context]
async fn resource(ledger: Ledger) -> Result<(), Elapsed> {
    let ((), outcome) = yield_!(());
    sleep(SECOND * 5).await;
    ledger.note(format!("closed: {outcome:?}"));
    Ok(())
}

#[test]
fn a_deadline_ends_the_body_and_the_caller_waits_for_what_is_inside() {
    on_current_thread(async |stage| {
        let (ledger, begun) = (Ledger::default(), Instant::now());
        let result = deadline(SECOND)
            .with(async |_| {
                resource(ledger.clone())
                    .with(async |()| endless().await)
                    .await
            })
            .await;
        assert_eq!(result.expect_err("it is over").after(), SECOND);
        assert_eq!(begun.elapsed(), SECOND * 6);
        assert_eq!(ledger.lines(), ["closed: Cancelled"]);
        assert_eq!(detached::count(), 0);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_body_in_time_is_not_touched_however_long_its_exits_take() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let result = deadline(SECOND).with(async |_| {
            drop(resource(ledger.clone()).guard().await?);
            Ok(1)
        });
        assert_eq!(result.await, Ok(1));
        assert_eq!(ledger.lines(), ["closed: Cancelled"]);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_limit_of_zero_lets_the_body_run_to_its_first_wait() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let result = deadline(Duration::ZERO).with(async |_| {
            ledger.note("begun");
            endless().await
        });
        assert!(result.await.is_err());
        assert_eq!(ledger.lines(), ["begun"]);
        assert_eq!(stage.reports(), []);
        // A body that never waits has ended in time.
        assert_eq!(deadline(Duration::ZERO).with(async |_| Ok(1)).await, Ok(1));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_deadline_moves_in_both_directions_from_the_body_and_from_elsewhere() {
    on_current_thread(async |stage| {
        let begun = Instant::now();
        let result = deadline(SECOND).with(async |deadline| {
            sleep(SECOND / 2).await;
            deadline.reschedule(Instant::now() + SECOND * 3);
            endless().await
        });
        assert!(result.await.is_err());
        assert_eq!(begun.elapsed(), SECOND / 2 + SECOND * 3);

        let begun = Instant::now();
        let result = deadline(SECOND * 60).with(async |deadline| {
            let other = deadline.clone();
            let task = tokio::spawn(async move {
                sleep(SECOND).await;
                other.reschedule(Instant::now());
            });
            let ended = endless().await;
            drop(task);
            ended
        });
        assert!(result.await.is_err());
        assert_eq!(begun.elapsed(), SECOND);

        // One in the past ends the body at its next wait.
        let result = deadline(SECOND).with(async |deadline| {
            sleep(SECOND / 2).await;
            deadline.reschedule(Instant::now() - SECOND / 4);
            endless().await
        });
        assert!(result.await.is_err());

        // One that never comes.
        let result = deadline(Duration::MAX).with(async |deadline| {
            assert_eq!(
                (deadline.when(), deadline.remaining()),
                (None, Duration::MAX)
            );
            sleep(SECOND * 1_000_000).await;
            Ok(1)
        });
        assert_eq!(result.await, Ok(1));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_deadline_that_has_passed_stays_where_it_was() {
    on_current_thread(async |_| {
        let mut kept = None;
        let result = deadline(SECOND).with(async |deadline| {
            kept = Some(deadline.clone());
            endless().await
        });
        assert!(result.await.is_err());
        let kept = kept.expect("the body has run");
        kept.extend(SECOND * 9);
        assert!(kept.is_expired());
        assert_eq!(kept.remaining(), Duration::ZERO);
    });
}

#[test]
fn a_deadline_tells_when_it_is_and_whether_it_has_passed() {
    on_current_thread(async |stage| {
        let begun = Instant::now();
        let mut kept = None;
        let result = deadline(SECOND).with(async |deadline| {
            assert_eq!(deadline.when(), Some(begun + SECOND));
            assert!(!deadline.is_expired());
            kept = Some(deadline.clone());
            endless().await
        });
        assert!(result.await.is_err());
        let kept = kept.expect("the body has run");
        assert_eq!(
            (kept.when(), kept.is_expired()),
            (Some(begun + SECOND), true)
        );

        // One that the body was faster than, and one that never comes.
        for (limit, when) in [
            (SECOND, Some(begun + SECOND * 2)),
            (Duration::MAX, None::<Instant>),
        ] {
            let result = deadline(limit).with(async |deadline| Ok(deadline.clone()));
            let kept = result.await.expect("it is in time");
            sleep(SECOND * 2).await;
            assert_eq!((kept.when(), kept.is_expired()), (when, false));
        }
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_deadline_counts_from_its_enter() {
    on_current_thread(async |_| {
        let made_early = deadline(SECOND * 5);
        sleep(SECOND * 3).await;
        let result = made_early.with(async |deadline| Ok(deadline.remaining()));
        assert_eq!(result.await, Ok(SECOND * 5));
    });
}

#[test]
fn a_deadline_may_be_put_off_for_ever_and_put_back() {
    on_current_thread(async |stage| {
        let (tell, told) = oneshot::channel::<Deadline>();
        let begun = Instant::now();
        let task = tokio::spawn(deadline(SECOND * 10).with(async |deadline| {
            tell.send(deadline.clone()).expect("somebody listens");
            endless().await
        }));
        let handle = told.await.expect("the body runs");
        assert_eq!(handle.when(), Some(begun + SECOND * 10));
        handle.reschedule(begun + SECOND * 30);
        assert_eq!(handle.when(), Some(begun + SECOND * 30));
        handle.extend(Duration::MAX);
        assert_eq!(handle.when(), None);
        sleep(SECOND * 100).await;
        assert!(!task.is_finished());
        handle.reschedule(begun + SECOND * 200);
        let result = task.await.expect("it does not panic");
        assert_eq!(result.expect_err("it is over").after(), SECOND * 200);
        assert_eq!(begun.elapsed(), SECOND * 200);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_deadline_that_is_moved_often_passes_where_it_was_moved_to_last() {
    on_current_thread(async |_| {
        let begun = Instant::now();
        let result = deadline(SECOND).with(async |deadline| {
            for _ in 0..2000 {
                deadline.reschedule(begun + SECOND * 9998);
                deadline.reschedule(begun + SECOND * 9999);
            }
            endless().await
        });
        assert!(result.await.is_err());
        assert_eq!(begun.elapsed(), SECOND * 9999);
    });
}

#[test]
fn a_deadline_that_is_moved_while_its_body_drops_or_after_that_changes_nothing() {
    /// Moves the deadline when it drops.
    struct Mover(Deadline);

    impl Drop for Mover {
        fn drop(&mut self) {
            self.0.extend(SECOND * 9);
        }
    }

    on_current_thread(async |stage| {
        let begun = Instant::now();
        let mut kept = None;
        let result = deadline(SECOND).with(async |deadline| {
            kept = Some(deadline.clone());
            let _mover = Mover(deadline.clone());
            endless().await
        });
        assert_eq!(result.await.expect_err("it is over").after(), SECOND);
        let kept = kept.expect("the body has run");
        assert_eq!(kept.when(), Some(begun + SECOND));
        assert!(kept.is_expired());

        // The body was in time: nothing is left that a later deadline could end.
        let result = deadline(SECOND).with(async |deadline| Ok(deadline.clone()));
        let kept = result.await.expect("it is in time");
        kept.reschedule(Instant::now());
        sleep(SECOND * 2).await;
        assert!(!kept.is_expired());
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_deadline_whose_caller_goes_away_has_not_passed() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let mut kept = None;
        let used = deadline(SECOND).with(async |deadline| {
            kept = Some(deadline.clone());
            resource(ledger.clone())
                .with(async |()| endless().await)
                .await
        });
        assert!(poll_times(used, 2).await.is_none());
        detached::drain().await;
        assert!(!kept.expect("the body has run").is_expired());
        assert_eq!(ledger.lines(), ["closed: Cancelled"]);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn the_task_of_a_body_that_a_deadline_has_ended_goes_on() {
    on_current_thread(async |_| {
        let task = tokio::spawn(async {
            let late = deadline(SECOND).with(async |_| endless().await).await;
            assert!(late.is_err());
            sleep(SECOND).await;
            7
        });
        assert_eq!(task.await.expect("it was not cancelled"), 7);
    });
}

#[test]
fn the_error_of_an_exit_inside_of_what_a_deadline_has_ended_is_reported() {
    #[async_context]
    async fn fails_to_close() -> Result<(), Fault> {
        yield_!(());
        Err(Fault("closing"))
    }

    on_current_thread(async |stage| {
        let limited = deadline(SECOND).map_err(|_| Fault("late"));
        let result = limited.with(async |_| {
            fails_to_close()
                .with(async |()| pending::<Result<(), _>>().await)
                .await
        });
        assert_eq!(result.await, Err(Fault("late")));
        let closing = (Kind::ExitFailed, "Fault(\"closing\")".to_owned());
        assert_eq!(stage.reports(), [closing]);
    });
}

#[test]
fn what_the_tasks_of_a_group_that_a_deadline_has_ended_fail_with_is_reported() {
    #[async_context]
    async fn fails_to_close() -> Result<(), Fault> {
        yield_!(());
        Err(Fault("closing"))
    }

    on_current_thread(async |stage| {
        let limited = deadline(SECOND).map_err(|_| Fault("late"));
        let result = limited.with(async |_| {
            let group = tasks().fail_fast().with(async |tasks| {
                tasks.spawn(fails_to_close().with(async |()| pending().await));
                pending::<Result<(), _>>().await
            });
            group.await
        });
        assert_eq!(result.await, Err(Fault("late")));
        let closing = (Kind::ExitFailed, "Fault(\"closing\")".to_owned());
        assert_eq!(stage.reports(), [closing]);
    });
}

/// A context whose exit has a second for what never ends.
#[async_context]
async fn closes_in_a_second(ledger: Ledger) -> Result<(), Elapsed> {
    yield_!(());
    let late = deadline(SECOND).with(async |_| endless().await).await;
    ledger.note(format!("{:?}", late.expect_err("it is over").after()));
    Ok(())
}

#[test]
fn an_exit_inside_of_what_a_deadline_has_ended_may_have_a_deadline_of_its_own() {
    on_current_thread(async |stage| {
        let (ledger, begun) = (Ledger::default(), Instant::now());
        let result = deadline(SECOND * 3).with(async |_| {
            closes_in_a_second(ledger.clone())
                .with(async |()| endless().await)
                .await
        });
        let late = result.await.expect_err("it is over");
        assert_eq!(late.after(), SECOND * 3);
        assert_eq!(ledger.lines(), ["1s"]);
        assert_eq!(begun.elapsed(), SECOND * 4);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn an_exit_in_the_background_may_have_a_deadline() {
    on_current_thread(async |stage| {
        let (ledger, begun) = (Ledger::default(), Instant::now());
        let used = closes_in_a_second(ledger.clone()).with(async |()| endless().await);
        assert!(poll_times(used, 2).await.is_none());
        detached::drain().await;
        assert_eq!(ledger.lines(), ["1s"]);
        assert_eq!(begun.elapsed(), SECOND);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn of_nested_deadlines_that_have_passed_at_once_the_outer_one_ends_the_next_wait() {
    on_current_thread(async |stage| {
        let begun = Instant::now();
        let result = deadline(SECOND * 10).with(async |outer| {
            let busy = deadline(SECOND).with(async |_| {
                // Meanwhile nothing else has a turn.
                advance(SECOND * 10).await;
                endless().await
            });
            assert_eq!(busy.await.expect_err("it is over").after(), SECOND);
            assert!(!outer.is_expired());
            endless().await
        });
        assert_eq!(result.await.expect_err("it is over").after(), SECOND * 10);
        assert_eq!(begun.elapsed(), SECOND * 10);

        // The outer one alone has passed.
        let result = deadline(SECOND).with(async |_| {
            let inner = deadline(SECOND * 100).with(async |_| {
                advance(SECOND * 10).await;
                endless().await
            });
            inner.await
        });
        assert_eq!(result.await.expect_err("it is over").after(), SECOND);

        // Both at the same moment: the inner one ends its body, and the outer body has ended.
        let mut kept = None;
        let result = deadline(SECOND).with(async |outer| {
            kept = Some(outer.clone());
            deadline(SECOND).with(async |_| endless().await).await
        });
        assert!(result.await.is_err());
        assert!(!kept.expect("the body has run").is_expired());
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn of_nested_deadlines_the_one_that_passes_first_counts() {
    on_current_thread(async |stage| {
        let begun = Instant::now();
        let result = deadline(SECOND)
            .with(async |_| {
                let inner = deadline(SECOND * 9);
                inner.with(async |_| endless().await).await
            })
            .await;
        assert_eq!(result.expect_err("it is over").after(), SECOND);
        assert_eq!(begun.elapsed(), SECOND);

        // The inner one, caught, leaves the outer one alone.
        let result = deadline(SECOND * 9).with(async |_| {
            let inner = deadline(SECOND).with(async |_| endless().await);
            assert!(inner.await.is_err());
            Ok(1)
        });
        assert_eq!(result.await, Ok(1));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_body_that_ends_at_the_deadline_has_ended_in_time() {
    on_current_thread(async |stage| {
        let when = Instant::now() + SECOND;
        let result = deadline(SECOND).with(async |_| {
            sleep_until(when).await;
            Ok(1)
        });
        assert_eq!(result.await, Ok(1));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_limit_that_is_suppressed_moves_on() {
    on_current_thread(async |stage| {
        let moved_on: Result<Option<u32>, Elapsed> = async {
            async_with!(() = suppress::<Elapsed>(), _ = deadline(SECOND) => pending().await)
        }
        .await;
        assert_eq!(moved_on, Ok(None));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn the_error_of_a_body_comes_before_a_limit_that_has_not_passed() {
    on_current_thread(async |stage| {
        #[derive(Debug, PartialEq)]
        enum Trouble {
            Late(Elapsed),
            Other,
        }
        impl From<Elapsed> for Trouble {
            fn from(elapsed: Elapsed) -> Self {
                Self::Late(elapsed)
            }
        }
        let limited = deadline(SECOND).err_into::<Trouble>();
        let mut kept = None;
        let failing = limited.with(async |deadline| {
            kept = Some(deadline.clone());
            Err::<(), _>(Trouble::Other)
        });
        assert_eq!(failing.await, Err(Trouble::Other));
        assert!(!kept.expect("the body has run").is_expired());
        let limited = deadline(SECOND).err_into::<Trouble>();
        let late = limited
            .with(async |_| pending::<Result<(), _>>().await)
            .await;
        assert!(matches!(late, Err(Trouble::Late(_))));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn until_ends_the_body_with_what_its_future_gives() {
    on_current_thread(async |stage| {
        let (tell, told) = oneshot::channel::<()>();
        let stopped = async {
            told.await.ok();
            Fault("stopped")
        };
        let result = until(stopped).with(async |()| {
            tell.send(()).expect("somebody listens");
            pending::<Result<(), _>>().await
        });
        assert_eq!(result.await, Err(Fault("stopped")));

        // A token gives nothing, and `map_err` makes an error of it.
        let told = until(now(())).map_err(|()| Fault("told"));
        assert_eq!(
            told.with(async |()| pending::<Result<(), _>>().await).await,
            Err(Fault("told"))
        );

        let never = until(pending::<Fault>()).with(async |()| Ok(1)).await;
        assert_eq!(never, Ok(1));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_limit_on_the_body_leaves_enter_and_exit_their_time() {
    on_current_thread(async |stage| {
        #[async_context]
        async fn slow(ledger: Ledger) -> Result<u32, Fault> {
            sleep(SECOND * 10).await;
            let (_, outcome) = yield_!(1);
            sleep(SECOND * 10).await;
            ledger.note(format!("exit: {outcome:?}"));
            Ok(())
        }
        let ledger = Ledger::default();
        let limited = slow(ledger.clone()).body_timeout(SECOND);
        assert_eq!(limited.with(async |value| Ok(*value)).await, Ok(1));
        let begun = Instant::now();
        let limited = slow(ledger.clone()).body_timeout(SECOND);
        let late = limited
            .with(async |_| pending::<Result<(), _>>().await)
            .await;
        let phase = Phase::Body;
        assert_eq!(
            late,
            Err(TimeoutError::Elapsed {
                phase,
                after: SECOND
            })
        );
        assert_eq!(begun.elapsed(), SECOND * 21);
        assert_eq!(ledger.count("exit: Completed"), 1);
        assert_eq!(ledger.lines().len(), 2);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_limit_on_the_body_goes_together_with_what_runs_beside_it() {
    on_current_thread(async |stage| {
        #[async_context]
        async fn lost_after(time: Duration) -> Result<(), Fault> {
            yield_!((), async {
                sleep(time).await;
                Err(Fault("lost"))
            });
            Ok(())
        }
        let lost = lost_after(SECOND).body_timeout(SECOND * 2);
        let result = lost.with(async |()| pending::<Result<(), _>>().await).await;
        assert_eq!(result, Err(TimeoutError::Context(Fault("lost"))));
        let late = lost_after(SECOND * 3).body_timeout(SECOND * 2);
        let result = late.with(async |()| pending::<Result<(), _>>().await).await;
        assert!(result.expect_err("it is over").is_elapsed());
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn limits_work_under_guards_in_stacks_and_in_joins() {
    on_current_thread(async |stage| {
        let mut guard = deadline(SECOND).guard().await.expect("it opens");
        let ended = Guard::run(&mut guard, async |_| endless().await).await;
        assert!(ended.is_err());
        assert!(Guard::exit(guard, ended).await.is_err());

        let guard = deadline(SECOND).guard().await.expect("it opens");
        Guard::ended(&guard).await;
        assert!(Guard::close(guard).await.is_err());

        let result = ExitStack::scope(async |stack| {
            drop(stack.enter(deadline(SECOND)).await?);
            endless().await
        });
        assert!(result.await.is_err());

        let both = join((deadline(SECOND), deadline(SECOND * 2)));
        let result = both.with(async |_| endless().await).await;
        assert_eq!(result.expect_err("it is over").after(), SECOND);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_deadline_without_a_tokio_runtime_is_kept_by_the_thread_of_the_crate() {
    let stage = tests::Stage::alone();
    let result = futures::executor::block_on(
        deadline(Duration::from_millis(20)).with(async |_| endless().await),
    );
    assert!(result.is_err());
    assert_eq!(stage.reports(), []);
}

/// Uses two contexts of one kind. Their bodies end at once, but each exit waits for its turn longer
/// than the limit.
async fn use_in_time<C: AsyncContext<Verdict = ()> + 'static>(contexts: [C; 2]) {
    let slow = async || {
        let slow = resource(Ledger::default()).guard().await;
        drop(slow.expect("it enters"));
    };
    let [first, second] = contexts;
    let body = async |_: &mut C::Value| {
        slow().await;
        Ok(())
    };
    first.with(body).await.expect("the body was in time");
    let guard = second.guard().await.expect("it enters");
    slow().await;
    Guard::close(guard).await.expect("the body was in time");
}

#[test]
fn a_body_that_has_ended_was_in_time_however_long_its_exit_waits_for_its_turn() {
    on_current_thread(async |stage| {
        let limits = || [deadline(SECOND), deadline(SECOND)];
        use_in_time(limits()).await;
        use_in_time(limits().map(|it| it.exit_timeout(SECOND * 60))).await;
        use_in_time(limits().map(|it| it.enter_timeout(SECOND * 60))).await;
        use_in_time(limits().map(AsyncContextExt::boxed)).await;
        use_in_time(limits().map(Some)).await;
        use_in_time(limits().map(|it| vec![it])).await;
        use_in_time(limits().map(|it| join((it, deadline(SECOND))))).await;
        let limited = || ready::<_, Fault>(()).body_timeout(SECOND);
        use_in_time([limited(), limited()]).await;
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_body_of_a_stack_was_in_time_however_long_the_exit_of_the_stack_waits_for_its_turn() {
    on_current_thread(async |stage| {
        let stack = ExitStack::<Elapsed>::new();
        let enter = async |stack: &ExitStack<Elapsed>| {
            drop(stack.enter(deadline(SECOND)).await?);
            drop(resource(Ledger::default()).guard().await?);
            Ok(())
        };
        enter(&stack).await.expect("both enter");
        assert_eq!(stack.exit(Ok(7)).await, Ok(7));

        let scope = ExitStack::<Elapsed>::scope(async |stack| enter(stack).await);
        assert_eq!(scope.await, Ok(()));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_body_was_in_time_however_late_the_exit_is_polled() {
    on_current_thread(async |stage| {
        let late = SECOND * 5;
        let enter = async || deadline(SECOND).guard().await.expect("it enters");
        let exits = [enter().await, enter().await];
        let exits = exits.map(|guard| Guard::exit_as(guard, &Outcome::Completed));
        sleep(late).await;
        for exit in exits {
            assert_eq!(exit.await, Ok(()));
        }

        let body = async |_: &mut Deadline| endless().await;
        let error = deadline(Duration::ZERO)
            .with(body)
            .await
            .expect_err("it is over");
        let failed = Guard::fail(enter().await, error);
        sleep(late).await;
        assert_eq!(failed.await.after(), Duration::ZERO);

        let stack = ExitStack::<Elapsed>::new();
        let entered = stack.enter(deadline(SECOND)).await.expect("it enters");
        let released = Lease::release(entered);
        sleep(late).await;
        assert_eq!(released.await, Ok(()));

        drop(stack.enter(deadline(SECOND)).await.expect("it enters"));
        let exit = stack.exit(Ok(7));
        sleep(late).await;
        assert_eq!(exit.await, Ok(7));

        let stack = ExitStack::<Elapsed>::new();
        drop(stack.enter(deadline(SECOND)).await.expect("it enters"));
        let exit = stack.try_exit(Ok(7));
        sleep(late).await;
        assert!(matches!(exit.await, Ok(7)));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_failure_beside_a_member_after_a_limit_has_ended_the_body_is_only_reported() {
    #[async_context]
    async fn noted(ledger: Ledger, name: &'static str) -> Result<(), Fault> {
        let ((), outcome) = yield_!((), async {
            if name == "first" {
                sleep(SECOND * 3).await;
                return Err(Fault("late"));
            }
            Ok(())
        });
        ledger.note(format!("{name}: {}", outcome.is_failed()));
        Ok(())
    }

    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let members = ["first", "second"].map(|name| noted(ledger.clone(), name));
        let limited = Vec::from(members).body_timeout(SECOND);
        let body = async |_: &mut _| {
            let slow = resource(Ledger::default()).guard().await;
            drop(slow.expect("it enters"));
            pending::<Result<(), _>>().await
        };
        let ended = limited.with(body).await.expect_err("it takes too long");
        assert!(matches!(ended, TimeoutError::Elapsed { .. }));
        assert_eq!(ledger.lines(), ["second: true", "first: true"]);
        let [report] = &stage.reports()[..] else {
            panic!("there is one report");
        };
        assert_eq!(report.0, Kind::BesideFailed);
    });
}
