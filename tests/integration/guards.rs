//! Guards whose exit sees the truth: `exit_as`, `fail`, `run`; and what a yield holds.

use std::future::pending;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{
    BodyError, BodyPanic, TimeoutError, contexts::join_all, detached, prelude::*,
};
use futures::FutureExt;
use tests::{
    End, Fault, Ledger, Script, cancel_at_every_poll, everywhere, generated, pause, poll_times,
};

/// A context that notes what its exit sees.
#[async_context]
async fn inner(ledger: Ledger, exit: Result<(), Fault>) -> Result<u32, Fault> {
    let (_, outcome) = yield_!(1);
    ledger.note(format!("inner: {outcome:?}"));
    pause(1).await;
    ledger.note("inner has exited");
    exit
}

/// A context that is built on another one.
#[async_context]
async fn outer(ledger: Ledger, exit: Result<(), Fault>) -> Result<u32, Fault> {
    let mut inner = inner(ledger.clone(), exit).guard().await?;
    *inner += 1;
    let (_, outcome) = yield_!(*inner);
    let exited = Guard::exit_as(inner, outcome).await;
    ledger.note("outer has exited");
    exited
}

/// A context whose enter fails when it has opened two others.
#[async_context]
async fn refused(ledger: Ledger) -> Result<u32, Fault> {
    let _first = inner(ledger.clone(), Ok(())).guard().await?;
    let _second = inner(ledger, Ok(())).guard().await?;
    pause(3).await;
    if std::hint::black_box(true) {
        return Err(Fault("refused"));
    }
    yield_!(1);
    Ok(())
}

#[test]
fn a_context_that_another_one_is_built_on_sees_how_the_body_of_that_one_ended() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let completed = outer(ledger.clone(), Ok(()))
            .with(async |value| Ok(*value))
            .await;
        assert_eq!(completed, Ok(2));

        let failed = outer(ledger.clone(), Ok(())).with(async |_| Err::<(), _>(Fault("body")));
        assert_eq!(failed.await, Err(Fault("body")));

        let panicked = outer(ledger.clone(), Ok(()))
            .with(async |_| -> Result<(), Fault> { resume_unwind(Box::new("bug")) });
        let panicked = AssertUnwindSafe(panicked).catch_unwind().await;
        assert_eq!(
            panicked.expect_err("it panics").downcast_ref::<&str>(),
            Some(&"bug")
        );

        let cancelled =
            outer(ledger.clone(), Ok(())).with(async |_| pending::<Result<(), _>>().await);
        assert!(poll_times(cancelled, 3).await.is_none());
        detached::drain().await;

        let seen: Vec<_> = ledger.lines();
        let seen: Vec<_> = seen
            .iter()
            .filter(|line| line.starts_with("inner: "))
            .collect();
        assert_eq!(
            seen,
            [
                "inner: Completed",
                "inner: Failed(Fault(\"body\"))",
                "inner: Panicked(BodyPanic(\"bug\"))",
                "inner: Cancelled",
            ]
        );
        assert_eq!(ledger.count("outer has exited"), 4);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn the_error_of_an_exit_that_is_passed_an_outcome_is_that_of_the_outer_exit() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let exit = Err(Fault("exit"));
        let result = outer(ledger.clone(), exit.clone())
            .with(async |_| Ok(()))
            .await;
        assert_eq!(result, Err(Fault("exit")));
        assert_eq!(stage.reports(), []);

        let result = outer(ledger, exit)
            .try_with(async |_| Err::<(), _>(Fault("body")))
            .await;
        let both = Failure::BodyAndExit {
            body: Fault("body"),
            exit: Fault("exit"),
        };
        assert_eq!(result, Err(both));
        assert_eq!(stage.reports(), []);
    });
}

/// Its body's error goes to the caller of the outer one, whoever drops what.
#[test]
fn a_context_built_on_another_one_can_be_dropped_at_every_poll() {
    everywhere(async |stage| {
        let program = async |ledger: Ledger| {
            let context = outer(ledger.clone(), Ok(()));
            let body = async |_: &mut u32| {
                pause(2).await;
                Err::<(), _>(Fault("body"))
            };
            context.with(body).await
        };
        cancel_at_every_poll(stage, program, |_, ended, ledger| {
            let opened = ledger.count("inner: ");
            assert_eq!(ledger.count("inner has exited"), opened);
            assert_eq!(ledger.count("outer has exited"), opened);
            let told = stage.reports();
            match ended {
                Some(result) => assert_eq!((result, told), (Err(Fault("body")), vec![])),
                None if ledger.has("inner: Failed(Fault(\"body\"))") => {
                    assert_eq!(told, [(Kind::BodyFailed, "Fault(\"body\")".to_owned())]);
                }
                None => assert_eq!(told, []),
            }
        })
        .await;
    });
}

#[test]
fn an_exit_that_is_passed_a_failure_is_given_up_with_the_exit_that_its_limit_cuts_off() {
    everywhere(async |stage| {
        #[async_context]
        async fn endless() -> Result<(), Fault> {
            yield_!(());
            pending().await
        }

        #[async_context]
        async fn around() -> Result<(), Fault> {
            let inner = endless().guard().await?;
            let ((), outcome) = yield_!(());
            Guard::exit_as(inner, outcome).await
        }

        let limited = around().exit_timeout(Duration::from_millis(1));
        let result = limited
            .try_with(async |()| Err::<(), _>(TimeoutError::Context(Fault("body"))))
            .await;
        match result {
            Err(Failure::BodyAndExit {
                body: TimeoutError::Context(Fault("body")),
                exit: TimeoutError::Elapsed { .. },
            }) => {}
            other => panic!("{other:?}"),
        }
        let kinds: Vec<_> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::NotRun]);
    });
}

#[test]
fn a_guard_that_fails_gives_the_error_back_when_its_exit_has_run() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let guard = inner(ledger.clone(), Ok(()))
            .guard()
            .await
            .expect("it opens");
        assert_eq!(Guard::fail(guard, Fault("early")).await, Fault("early"));
        assert_eq!(
            ledger.lines(),
            ["inner: Failed(Fault(\"early\"))", "inner has exited"]
        );
        assert_eq!(stage.reports(), []);

        let guard = inner(ledger, Err(Fault("exit")))
            .guard()
            .await
            .expect("it opens");
        assert_eq!(Guard::fail(guard, Fault("early")).await, Fault("early"));
        assert_eq!(
            stage.reports(),
            [(Kind::ExitFailed, "Fault(\"exit\")".to_owned())]
        );
    });
}

#[test]
fn the_error_of_a_guard_that_fails_is_reported_where_nobody_gets_it() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let told = [(Kind::BodyFailed, "Fault(\"early\")".to_owned())];
        let guard = inner(ledger.clone(), Ok(()))
            .guard()
            .await
            .expect("it opens");
        assert!(
            poll_times(Guard::fail(guard, Fault("early")), 1)
                .await
                .is_none()
        );
        detached::drain().await;
        assert_eq!(ledger.count("inner has exited"), 1);
        assert_eq!(stage.reports(), told);

        let script = Script::new("c", &ledger).exit(End::Panic("exit"));
        let guard = generated(script).guard().await.expect("it opens");
        let failed = AssertUnwindSafe(Guard::fail(guard, Fault("early")))
            .catch_unwind()
            .await;
        assert!(failed.is_err());
        assert_eq!(stage.reports(), told);
    });
}

#[test]
fn what_a_part_of_a_guard_s_body_opens_is_inside_of_the_guard_s_context() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut guard = inner(ledger.clone(), Ok(()))
            .guard()
            .await
            .expect("it opens");
        let part = async |value: &mut u32| {
            *value = 7;
            drop(generated(Script::new("part", &ledger)).guard().await?);
            Err::<(), _>(Fault("part"))
        };
        assert_eq!(Guard::run(&mut guard, part).await, Err(Fault("part")));
        assert_eq!(*guard, 7);
        let panics = Guard::run(&mut guard, async |_| -> Result<(), Fault> {
            resume_unwind(Box::new("bug"))
        });
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
        let endless = Guard::run(&mut guard, async |_| pending::<Result<(), Fault>>().await);
        assert!(poll_times(endless, 2).await.is_none());
        assert_eq!(Guard::close(guard).await, Ok(()));
        ledger.note("closed");
        detached::drain().await;
        let lines = ledger.lines();
        let at = |start: &str| lines.iter().position(|line| line.starts_with(start));
        let (part, inner) = (at("exited part"), at("inner: Completed"));
        assert!(part.is_some() && part < inner, "{lines:?}");
    });
}

#[test]
fn outcomes_of_each_kind_can_be_made_for_a_test_of_an_exit() {
    assert!(Outcome::Completed.is_completed());
    assert!(Outcome::Cancelled.is_cancelled());
    let failed = Outcome::failed(std::io::Error::other("no"));
    assert!(failed.error().is_some_and(BodyError::is::<std::io::Error>));
    let panicked = Outcome::panicked("a bug");
    assert_eq!(panicked.panic().map(BodyPanic::message), Some("a bug"));
}

/// What is temporary in the value that a context yields is not held while the body runs.
#[test]
fn a_lock_that_is_taken_to_make_the_value_is_free_in_the_body() {
    #[async_context]
    async fn copy(shared: Arc<tokio::sync::Mutex<String>>) -> Result<String, Fault> {
        yield_!(shared.lock().await.clone());
        Ok(())
    }

    everywhere(async |_| {
        let shared = Arc::new(tokio::sync::Mutex::new("text".to_owned()));
        let result = copy(Arc::clone(&shared)).with(async |copy| {
            let now = shared.try_lock().map_err(|_| Fault("locked"))?;
            Ok(*copy == *now)
        });
        assert_eq!(result.await, Ok(true));
    });
}

/// When a `with` has returned, nothing that its enter had opened is left in the background.
#[test]
fn an_enter_that_fails_has_waited_for_what_it_had_opened() {
    everywhere(async |stage| {
        for form in ["with", "guard", "by hand", "boxed", "in a list", "joined"] {
            let ledger = Ledger::default();
            let mut context = refused(ledger.clone());
            let result = match form {
                "with" => context.with(async |_| Ok(())).await,
                "guard" => context.guard().await.map(drop),
                "by hand" => context.enter().await.map(drop),
                "boxed" => context.boxed().with(async |_| Ok(())).await,
                "in a list" => vec![context].with(async |_| Ok(())).await,
                _ => join_all([context]).with(async |_| Ok(())).await,
            };
            assert_eq!(result, Err(Fault("refused")), "{form}");
            assert_eq!(ledger.count("inner has exited"), 2, "{form}");
            assert_eq!(stage.reports(), [], "{form}");
        }
    });
}

#[test]
fn the_error_of_an_enter_that_waits_is_reported_when_its_caller_goes_away() {
    everywhere(async |stage| {
        let program = async |ledger: Ledger| refused(ledger).with(async |_| Ok(())).await;
        cancel_at_every_poll(stage, program, |_, ended, ledger| {
            assert_eq!(ledger.count("inner has exited"), ledger.count("inner: "));
            let told = stage.reports();
            match ended {
                Some(result) => assert_eq!((result, told), (Err(Fault("refused")), vec![])),
                None if ledger.lines().is_empty() => assert_eq!(told, []),
                None => assert_eq!(told, [(Kind::EnterFailed, "Fault(\"refused\")".to_owned())]),
            }
        })
        .await;
    });
}
