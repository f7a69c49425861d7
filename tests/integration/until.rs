//! Bodies that somebody ends by telling: `until`, with a token.

use std::future::{pending, ready as now};
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{async_with, deadline, prelude::*, suppress_if, until};
use tests::{Fault, Ledger, everywhere, on_current_thread, pause};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Its body ends with this error when the token is told.
fn scope(
    told: &Arc<Notify>,
    error: &'static str,
) -> impl AsyncContext<Value = (), Error = Fault, Verdict = ()> + use<> {
    let told = Arc::clone(told);
    until(async move {
        told.notified().await;
        Fault(error)
    })
}

async fn endless() -> Result<(), Fault> {
    pending().await
}

#[test]
fn a_body_that_tells_its_own_token_ends_at_its_next_wait() {
    everywhere(async |stage| {
        let (told, ledger) = (Arc::new(Notify::new()), Ledger::default());
        let result = scope(&told, "told").with(async |()| {
            pause(1).await;
            told.notify_one();
            // Once more says the same.
            told.notify_one();
            ledger.note("goes on");
            pause(1).await;
            ledger.note("not reached");
            Ok(())
        });
        assert_eq!(result.await, Err(Fault("told")));
        assert_eq!(ledger.lines(), ["goes on"]);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_token_that_was_told_before_ends_the_body_at_its_first_wait() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let told = Arc::new(Notify::new());
        told.notify_one();
        let result = scope(&told, "told").with(async |()| {
            ledger.note("begun");
            pause(1).await;
            ledger.note("not reached");
            Ok(())
        });
        assert_eq!(result.await, Err(Fault("told")));
        assert_eq!(ledger.lines(), ["begun"]);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_body_that_ends_before_its_next_wait_keeps_its_result_though_its_token_was_told() {
    everywhere(async |stage| {
        for result in [Ok(1), Err(Fault("body"))] {
            let told = Arc::new(Notify::new());
            let used = scope(&told, "told").with(async |()| {
                pause(1).await;
                told.notify_one();
                result.clone()
            });
            assert_eq!(used.await, result);
            assert_eq!(stage.reports(), []);
        }
        // Told when it is over, it changes nothing any more.
        let told = Arc::new(Notify::new());
        assert_eq!(scope(&told, "told").with(async |()| Ok(1)).await, Ok(1));
        told.notify_one();
        pause(3).await;
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn of_two_tokens_that_are_told_at_once_the_inner_one_ends_its_body_and_the_outer_one_the_next_wait()
{
    everywhere(async |stage| {
        let (outer, inner) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let ledger = Ledger::default();
        let result = scope(&outer, "outer").with(async |()| {
            let used = scope(&inner, "inner").with(async |()| {
                outer.notify_one();
                inner.notify_one();
                endless().await
            });
            assert_eq!(used.await, Err(Fault("inner")));
            ledger.note("goes on");
            pause(1).await;
            ledger.note("not reached");
            Ok(())
        });
        assert_eq!(result.await, Err(Fault("outer")));
        assert_eq!(ledger.lines(), ["goes on"]);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_token_that_is_suppressed_moves_on_and_the_scope_around_is_not_touched() {
    on_current_thread(async |stage| {
        let told = Arc::new(Notify::new());
        let teller = Arc::clone(&told);
        let task = tokio::spawn(async move {
            sleep(SECOND).await;
            teller.notify_one();
        });
        let moved_on: Result<Option<()>, Fault> = async {
            async_with!(
                () = suppress_if(|error: &Fault| *error == Fault("told")),
                () = scope(&told, "told")
                => endless().await
            )
        }
        .await;
        assert_eq!(moved_on, Ok(None));
        task.await.expect("it does not panic");
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn the_exits_inside_of_a_body_that_is_ended_are_not_cut_short_by_a_token_around() {
    /// Its exit takes as long as it needs, whoever has been told what.
    #[async_context]
    async fn shielded(ledger: Ledger, outer: Arc<Notify>) -> Result<(), Fault> {
        let ((), outcome) = yield_!(());
        ledger.note(format!("closing: {outcome:?}"));
        outer.notify_one();
        sleep(SECOND).await;
        ledger.note("closed");
        Ok(())
    }

    on_current_thread(async |stage| {
        let (outer, inner) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let ledger = Ledger::default();
        let result = scope(&outer, "outer").with(async |()| {
            let used = scope(&inner, "inner").with(async |()| {
                let closing = shielded(ledger.clone(), Arc::clone(&outer));
                closing
                    .with(async |()| {
                        inner.notify_one();
                        endless().await
                    })
                    .await
            });
            used.await
        });
        assert_eq!(result.await, Err(Fault("outer")));
        assert_eq!(ledger.lines(), ["closing: Cancelled", "closed"]);
        // The inner scope had ended its body, with an error that nobody was left to get.
        assert_eq!(
            stage.reports(),
            [(Kind::BodyFailed, "Fault(\"inner\")".to_owned())]
        );
    });
}

#[test]
fn a_stack_of_five_thousand_tokens_is_ended_by_the_outermost_one() {
    on_current_thread(async |stage| {
        let told = Arc::new(Notify::new());
        let result = ExitStack::scope(async |stack| {
            drop(stack.enter(scope(&told, "outermost")).await?);
            for _ in 0..5000 {
                drop(stack.enter(until(pending::<Fault>())).await?);
            }
            told.notify_one();
            endless().await
        });
        assert_eq!(result.await, Err(Fault("outermost")));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_token_and_a_deadline_end_one_body_whichever_comes_first() {
    on_current_thread(async |stage| {
        for (token_after, limit, error) in [(1, 3, "told"), (3, 1, "late")] {
            let begun = Instant::now();
            let told = until(sleep(SECOND * token_after)).map_err(|()| Fault("told"));
            let limited = deadline(SECOND * limit).map_err(|_| Fault("late"));
            let result: Result<(), Fault> =
                async { async_with!(() = told, _ = limited => endless().await) }.await;
            assert_eq!(result, Err(Fault(error)));
            assert_eq!(begun.elapsed(), SECOND);
        }
        // One that was told long ago.
        let told = until(now(())).map_err(|()| Fault("told"));
        assert_eq!(
            told.with(async |()| endless().await).await,
            Err(Fault("told"))
        );
        assert_eq!(stage.reports(), []);
    });
}
