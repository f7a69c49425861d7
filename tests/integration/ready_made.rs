//! Contexts that need no function of their own: a value, a closing call, errors that end here.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::panic::AssertUnwindSafe;

use async_context_manager::{
    contexts::{closing, defer, ready, suppress, suppress_if},
    prelude::*,
};
use futures::FutureExt;
use tests::{End, Fault, Ledger, Script, cancel_at_every_poll, everywhere, generated, pause};

type AnyError = Box<dyn Error + Send + Sync>;

/// Another error than [`Fault`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Other;

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("other")
    }
}

impl Error for Other {}

#[test]
fn ready_lends_its_value() {
    everywhere(async |_| {
        let length = ready::<_, Fault>("value".to_owned())
            .with(async |value| {
                value.push('s');
                Ok(value.len())
            })
            .await;
        assert_eq!(length, Ok(6));
        let failed = ready(()).with(async |()| Err::<(), _>(Fault("b"))).await;
        assert_eq!(failed, Err(Fault("b")));
    });
}

fn closed(
    ledger: &Ledger,
    end: End,
) -> impl AsyncContext<Value = u8, Error = Fault, Verdict = ()> + use<> {
    let ledger = ledger.clone();
    closing(7, async move |value: u8| {
        ledger.note(format!("close {value}"));
        pause(2).await;
        ledger.note("closed");
        end.come().map(|_| ())
    })
}

#[test]
fn closing_closes_when_the_body_completes_fails_or_panics() {
    everywhere(async |_| {
        for end in [End::Ok, End::Fail("b"), End::Panic("p")] {
            let ledger = Ledger::default();
            let body = closed(&ledger, End::Ok).with(async |value| {
                *value += 1;
                end.come()
            });
            let ended = AssertUnwindSafe(body).catch_unwind().await;
            assert_eq!(ended.is_err(), matches!(end, End::Panic(_)));
            if let Ok(result) = ended {
                assert_eq!(result, end.come());
            }
            assert_eq!(ledger.text(), "close 8, closed");
        }
    });
}

#[test]
fn the_error_of_a_closing_call_is_that_of_exit() {
    everywhere(async |_| {
        let context = closed(&Ledger::default(), End::Fail("x"));
        assert_eq!(context.with(async |_| Ok(())).await, Err(Fault("x")));
    });
}

#[test]
fn closing_and_defer_keep_their_order_dropped_at_every_poll() {
    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger: Ledger| {
                let call = ledger.clone();
                let deferred = defer(async move |outcome: &Outcome| {
                    pause(1).await;
                    call.note(format!("called: {outcome:?}"));
                    Ok::<_, Fault>(())
                });
                let inside = closed(&ledger, End::Ok);
                deferred
                    .with(async |()| inside.with(async |_| Ok(pause(2).await)).await)
                    .await
            },
            |polls, ended, ledger| {
                let outcome = if ended.is_some() {
                    "Completed"
                } else {
                    "Cancelled"
                };
                let all = format!("close 7, closed, called: {outcome}");
                match polls {
                    0 => assert_eq!(ledger.text(), ""),
                    // The outer body may have completed before.
                    _ => assert!(
                        ledger.text() == all
                            || ledger.text() == "close 7, closed, called: Completed",
                    ),
                }
            },
        )
        .await;
    });
}

#[test]
fn a_deferred_call_gets_the_outcome_and_its_error_is_that_of_exit() {
    everywhere(async |stage| {
        for end in [End::Ok, End::Fail("b")] {
            let ledger = Ledger::default();
            let call = ledger.clone();
            let result = defer(async move |outcome: &Outcome| {
                call.note(format!("{outcome:?}"));
                Err(Fault("x"))
            })
            .with(async |()| end.come())
            .await;
            if end == End::Ok {
                assert_eq!(result, Err(Fault("x")));
                assert_eq!(ledger.text(), "Completed");
            } else {
                assert_eq!(result, Err(Fault("b")), "it can't suppress");
                assert_eq!(ledger.text(), "Failed(Fault(\"b\"))");
                assert_eq!(stage.reports().len(), 1);
            }
        }
    });
}

#[test]
fn suppress_without_an_error_does_nothing() {
    everywhere(async |_| {
        let value = suppress::<Fault>().with(async |()| Ok(7)).await;
        assert_eq!(value, Ok(Some(7)));
        let value = suppress_if(|_: &Fault| true).with(async |()| Ok(7)).await;
        assert_eq!(value, Ok(Some(7)));
    });
}

#[test]
fn suppress_ends_errors_of_its_type_and_sees_into_boxes() {
    everywhere(async |_| {
        let direct = suppress::<Fault>().with(async |()| Err::<(), _>(Fault("b")));
        assert_eq!(direct.await, Ok(None));

        for (error, is_suppressed) in [
            (AnyError::from(Fault("b")), true),
            (AnyError::from(Other), false),
            (AnyError::from("text"), false),
        ] {
            let boxed = suppress::<Fault>().err_into::<AnyError>();
            let result = boxed.with(async |()| Err::<(), _>(error)).await;
            assert_eq!(matches!(result, Ok(None)), is_suppressed);
            assert_eq!(result.is_err(), !is_suppressed);
        }
    });
}

#[test]
fn suppress_if_ends_those_that_it_is_asked_for_also_of_several_types() {
    everywhere(async |_| {
        for (error, is_suppressed) in [("this", true), ("that", false)] {
            let result = suppress_if(|error: &Fault| error.0 == "this")
                .with(async |()| Err::<(), _>(Fault(error)))
                .await;
            assert_eq!(result.is_ok(), is_suppressed);
        }
        for (error, is_suppressed) in [
            (AnyError::from(Fault("b")), true),
            (AnyError::from(Other), true),
            (AnyError::from("text"), false),
        ] {
            let result = suppress_if(|error: &AnyError| error.is::<Fault>() || error.is::<Other>())
                .with(async |()| Err::<(), _>(error))
                .await;
            assert_eq!(result.is_ok(), is_suppressed);
        }
    });
}

#[test]
fn suppress_ends_neither_a_panic_nor_a_cancellation() {
    everywhere(async |_| {
        let panics = suppress::<Fault>().with(async |()| End::Panic("p").come());
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
        let never = suppress::<Fault>().with(async |()| pending::<Result<(), _>>().await);
        assert_eq!(tests::poll_times(never, 3).await, None);
    });
}

#[test]
fn suppress_on_a_stack_lets_the_outer_exits_see_completed() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let result = ExitStack::suppressing_scope(async |stack| {
            drop(
                stack
                    .enter(generated(Script::new("outer", &ledger)))
                    .await?,
            );
            stack.enter(suppress::<Fault>()).await?;
            drop(
                stack
                    .enter(generated(Script::new("inner", &ledger)))
                    .await?,
            );
            Err::<(), _>(Fault("b"))
        });
        assert_eq!(result.await, Ok(None));
        assert!(ledger.has("exit inner: failed(Fault(\"b\"))"));
        assert!(ledger.has("exit outer: completed"));
    });
}
