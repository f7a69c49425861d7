//! Limits that end a body: `deadline`, `until` and `body_timeout`.

use std::future::{pending, ready as now};
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::{
    Elapsed, Phase, TimeoutError, async_with, deadline, detached, join, suppress, until,
};
use tests::{Fault, Ledger, on_current_thread};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

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
        let failed = limited.with(async |_| Err::<(), _>(Trouble::Other)).await;
        assert_eq!(failed, Err(Trouble::Other));
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
