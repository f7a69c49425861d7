//! Exits that turn a body's error into `Ok(None)`, and what they can't turn.

use async_context_manager::{detached, prelude::*};
use tests::{
    ByHand, End, Fault, Ledger, Script, everywhere, generated, generated_suppressing, poll_times,
};

#[test]
fn a_suppressing_exit_turns_an_error_into_none_and_the_next_statement_runs() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Suppress);
        let result = generated_suppressing(script)
            .with(async |_| Err::<u8, _>(Fault("b")))
            .await;
        ledger.note("next");
        assert_eq!(result, Ok(None));
        assert!(ledger.text().ends_with("exited c, next"));
    });
}

#[test]
fn an_exit_that_propagates_leaves_the_error() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let result = generated_suppressing(Script::new("c", &ledger))
            .with(async |_| Err::<u8, _>(Fault("b")))
            .await;
        assert_eq!(result, Err(Fault("b")));
        let result = generated_suppressing(Script::new("c", &ledger))
            .with(async |_| Ok(1))
            .await;
        assert_eq!(result, Ok(Some(1)));
    });
}

#[test]
fn after_a_suppression_the_outer_contexts_see_completed() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let inner = Script::new("inner", &ledger).exit(End::Suppress);
        let result = generated(Script::new("outer", &ledger))
            .with(async |_| {
                ByHand::<Suppression>::new(inner)
                    .with(async |_| Err::<u8, _>(Fault("b")))
                    .await
            })
            .await;
        assert_eq!(result, Ok(None));
        assert!(ledger.has("exit outer: completed"));
    });
}

#[test]
fn an_outer_context_suppresses_an_inner_exit_s_error_too() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let outer = Script::new("outer", &ledger).exit(End::Suppress);
        let inner = Script::new("inner", &ledger).exit(End::Fail("rollback"));
        let result = generated_suppressing(outer)
            .with(async |_| generated(inner).with(async |_| Ok(1)).await)
            .await;
        assert_eq!(result, Ok(None));
        assert!(ledger.has("exit outer: failed(Fault(\"rollback\"))"));
    });
}

#[test]
fn a_cancellation_can_not_be_suppressed() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Suppress);
        let future = async {
            let context = generated_suppressing(script);
            let result = context.with(async |_| std::future::pending::<Result<u8, Fault>>().await);
            let result = result.await;
            ledger.note("went on");
            result
        };
        assert_eq!(poll_times(future, 10).await, None);
        detached::drain().await;
        assert!(ledger.text().ends_with("exit c: cancelled, exited c"));
    });
}

#[test]
fn a_panic_can_not_be_suppressed() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Suppress);
        let task = tokio::spawn(
            generated_suppressing(script).with(async |_| End::Panic("p").come().map(|_| ())),
        );
        assert!(task.await.is_err_and(|error| error.is_panic()));
        assert!(ledger.has("exit c: panicked(p)"));
    });
}

/// Regression: it was reported when the caller went away, before exit had decided.
#[test]
fn an_error_is_suppressed_also_when_its_caller_goes_away_during_exit() {
    everywhere(async |stage| {
        for (exit, reports) in [(End::Suppress, 0), (End::Ok, 1)] {
            let ledger = Ledger::default();
            let script = Script::new("c", &ledger).exit(exit);
            let failing = async |_: &mut &'static str| Err::<(), _>(Fault("b"));
            let future = generated_suppressing(script).with(failing);
            assert!(poll_times(future, 4).await.is_none());
            detached::drain().await;
            assert!(ledger.has("exited c"));
            assert_eq!(stage.reports().len(), reports);
        }
    });
}
