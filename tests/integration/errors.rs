//! Which error comes out, and that none is lost.

use std::error::Error;

use async_context_manager::report::Kind;
use async_context_manager::{detached, prelude::*};
use tests::{
    ByHand, End, Fault, Ledger, Script, everywhere, generated, on_current_thread, poll_times,
};

#[test]
fn with_returns_the_body_s_error_and_reports_the_exit_s() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Fail("rollback"));
        let result: Result<(), _> = generated(script).with(async |_| Err(Fault("cause"))).await;
        assert_eq!(result, Err(Fault("cause")));
        assert_eq!(
            stage.reports(),
            [(Kind::ExitFailed, "Fault(\"rollback\")".to_owned())]
        );
    });
}

#[test]
fn try_with_returns_both_errors_and_reports_none() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Fail("rollback"));
        let result: Result<(), _> = generated(script)
            .try_with(async |_| Err(Fault("cause")))
            .await;
        let both = Failure::BodyAndExit {
            body: Fault("cause"),
            exit: Fault("rollback"),
        };
        assert_eq!(result, Err(both));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn try_with_says_where_an_error_came_from() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).enter(End::Fail("closed"));
        let result = generated(script).try_with(async |_| Ok(1)).await;
        assert_eq!(result, Err(Failure::Enter(Fault("closed"))));

        let context = generated(Script::new("c", &ledger));
        let result = context.try_with(async |_| Err::<u8, _>(Fault("b"))).await;
        assert_eq!(result, Err(Failure::Body(Fault("b"))));
    });
}

#[test]
fn the_body_s_value_is_kept_when_the_exit_fails() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Fail("commit"));
        let result = generated(script)
            .try_with(async |_| Ok(String::from("receipt")))
            .await;
        let failure = Failure::Exit {
            value: String::from("receipt"),
            error: Fault("commit"),
        };
        assert_eq!(result, Err(failure));
    });
}

#[test]
fn ignore_exit_errors_ignores_those_of_exit_alone() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let exit_fails = |enter| {
            let script = Script::new("c", &ledger)
                .enter(enter)
                .exit(End::Fail("close"));
            generated(script).ignore_exit_errors()
        };
        let reported = [(Kind::ExitFailed, "Fault(\"close\")".to_owned())];

        assert_eq!(exit_fails(End::Ok).with(async |_| Ok(1)).await, Ok(1));
        assert_eq!(stage.reports(), reported);

        let result = exit_fails(End::Ok)
            .with(async |_| Err::<u8, _>(Fault("b")))
            .await;
        assert_eq!(result, Err(Fault("b")));
        assert_eq!(stage.reports(), reported);

        let result = exit_fails(End::Fail("closed")).with(async |_| Ok(1)).await;
        assert_eq!(result, Err(Fault("closed")));
        assert_eq!(stage.reports(), []);

        let script = Script::new("c", &ledger).exit(End::Fail("close"));
        let context = ByHand::<Suppression>::new(script).ignore_exit_errors();
        let result = context.with(async |_| Err::<u8, _>(Fault("b"))).await;
        assert_eq!(result, Err(Fault("b")), "a failed exit suppresses nothing");
        assert_eq!(stage.reports(), reported);
    });
}

#[test]
fn an_exit_error_on_the_cancelled_path_reaches_the_hook() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Fail("rollback"));
        let future =
            generated(script).with(async |_| -> Result<(), Fault> { std::future::pending().await });
        assert_eq!(poll_times(future, 10).await, None);
        detached::drain().await;
        assert_eq!(
            stage.reports(),
            [(Kind::ExitFailed, "Fault(\"rollback\")".to_owned())]
        );
    });
}

#[test]
fn an_enter_that_fails_in_the_background_reaches_the_hook() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).enter(End::Fail("refused"));
        assert!(poll_times(generated(script).guard(), 1).await.is_none());
        detached::drain().await;
        assert_eq!(
            stage.reports(),
            [(Kind::EnterFailed, "Fault(\"refused\")".to_owned())]
        );
    });
}

/// The caller goes away while exit runs: what it would have got has nobody else to go to.
#[test]
fn the_body_s_error_is_reported_when_its_caller_goes_away_during_exit() {
    everywhere(async |stage| {
        for (end, report) in [
            (End::Fail("b"), Some((Kind::BodyFailed, "Fault(\"b\")"))),
            (End::Panic("p"), Some((Kind::BodyPanicked, "p"))),
            (End::Ok, None),
        ] {
            let ledger = Ledger::default();
            let future = generated(Script::new("c", &ledger)).with(async |_| end.come());
            // Two pauses of enter, one of exit.
            assert!(poll_times(future, 4).await.is_none());
            detached::drain().await;
            ledger.check_nesting();
            let report = report.map(|(kind, about)| (kind, about.to_owned()));
            assert_eq!(stage.reports(), Vec::from_iter(report));
        }
    });
}

#[test]
fn errors_are_converted_for_enter_exit_and_body() {
    #[derive(Debug, PartialEq)]
    struct Wide(Fault);

    impl From<Fault> for Wide {
        fn from(fault: Fault) -> Self {
            Self(fault)
        }
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = |enter, exit| Script::new("c", &ledger).enter(enter).exit(exit);

        let context = generated(script(End::Fail("enter"), End::Ok)).err_into::<Wide>();
        assert_eq!(
            context.with(async |_| Ok(1)).await,
            Err(Wide(Fault("enter")))
        );
        let context = generated(script(End::Ok, End::Fail("exit"))).err_into::<Wide>();
        assert_eq!(
            context.with(async |_| Ok(1)).await,
            Err(Wide(Fault("exit")))
        );
        let context = generated(script(End::Ok, End::Ok)).err_into::<Wide>();
        let result = context
            .with(async |_| {
                End::Fail("body").come()?;
                Ok(1)
            })
            .await;
        assert_eq!(result, Err(Wide(Fault("body"))));
        assert!(ledger.has("exit c: failed(Wide(Fault(\"body\")))"));

        let context = generated(script(End::Ok, End::Fail("exit"))).map_err(|fault| fault.0);
        assert_eq!(context.with(async |_| Ok(1)).await, Err("exit"));

        let context =
            generated(script(End::Ok, End::Ok)).err_into::<Box<dyn Error + Send + Sync>>();
        let result = context
            .with(async |_| Ok("12x".parse::<u32>()?))
            .await
            .expect_err("that is no number");
        assert!(result.is::<std::num::ParseIntError>());
    });
}

#[test]
fn a_failure_shows_each_part_and_where_it_came_from() {
    let enter = Failure::<u8, _>::Enter(Fault("e"));
    let body = Failure::<u8, _>::Body(Fault("b"));
    let exit = Failure::Exit {
        value: 7_u8,
        error: Fault("x"),
    };
    let both = Failure::<u8, _>::BodyAndExit {
        body: Fault("b"),
        exit: Fault("x"),
    };
    for (failure, display, debug, source) in [
        (&enter, "enter failed: e", "Enter(Fault(\"e\"))", "e"),
        (&body, "the body failed: b", "Body(Fault(\"b\"))", "b"),
        (
            &exit,
            "exit failed: x",
            "Exit { value: 7, error: Fault(\"x\") }",
            "x",
        ),
        (
            &both,
            "the body failed: b; and then exit failed: x",
            "BodyAndExit { body: Fault(\"b\"), exit: Fault(\"x\") }",
            "b",
        ),
    ] {
        assert_eq!(failure.to_string(), display);
        assert_eq!(format!("{failure:?}"), debug);
        assert_eq!(
            failure.source().map(ToString::to_string).as_deref(),
            Some(source)
        );
        assert_eq!(failure.clone().into_primary().0, source);
    }
}

#[test]
fn a_method_named_fail_may_go_well_and_one_of_a_type_fails() {
    struct Breaker(bool);

    impl Breaker {
        fn fail(&self) -> Result<(), Fault> {
            if self.0 { Err(Fault("open")) } else { Ok(()) }
        }
    }

    struct NoAnswer(&'static str);

    impl NoAnswer {
        fn fail<T>(&self) -> Result<T, Fault> {
            Err(Fault(self.0))
        }
    }

    #[async_context]
    async fn guarded(breaker: Breaker) -> Result<u32, Fault> {
        breaker.fail()?;
        yield_!(1);
        Ok(())
    }

    #[async_context]
    async fn answered(is_there: bool) -> Result<u32, Fault> {
        if is_there {
            yield_!(1);
        } else {
            NoAnswer("no answer").fail()?;
        }
        Ok(())
    }

    on_current_thread(async |_| {
        let used = async |is_open| {
            guarded(Breaker(is_open))
                .with(async |value| Ok(*value))
                .await
        };
        assert_eq!(used(false).await, Ok(1));
        assert_eq!(used(true).await, Err(Fault("open")));
        let used = async |is_there| answered(is_there).with(async |value| Ok(*value)).await;
        assert_eq!(used(true).await, Ok(1));
        assert_eq!(used(false).await, Err(Fault("no answer")));
    });
}
