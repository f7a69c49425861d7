//! Time limits of enter and of exit.

use std::error::Error;
use std::future::pending;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{
    BodyError, Either, Phase,
    contexts::{defer, ready},
    detached, join, join_all,
    prelude::*,
};
use futures::FutureExt;
use tests::{
    ByHand, End, Fault, Ledger, Script, Stage, cancel_at_every_poll, everywhere, generated,
    on_current_thread, pause, poll_times,
};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(1);

fn elapsed(phase: Phase, after: Duration) -> TimeoutError<Fault> {
    TimeoutError::Elapsed { phase, after }
}

/// Takes so long in enter, body and exit each.
#[async_context]
async fn slow(ledger: Ledger, enter: Duration, exit: Duration) -> Result<(), Fault> {
    sleep(enter).await;
    ledger.note("entered slow");
    let ((), outcome) = yield_!(());
    ledger.note(format!("exit slow: {outcome:?}"));
    sleep(exit).await;
    ledger.note("exited slow");
    Ok(())
}

#[test]
fn limits_that_are_kept_change_nothing() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let context = slow(ledger.clone(), SHORT, SHORT)
            .enter_timeout(2 * SHORT)
            .exit_timeout(2 * SHORT)
            .err_into::<TimeoutError<Fault>>();
        // The body's time does not count.
        let result = context.with(async |()| Ok(sleep(LONG).await)).await;
        assert_eq!(result, Ok(()));
        assert_eq!(
            ledger.text(),
            "entered slow, exit slow: Completed, exited slow"
        );
    });
}

#[test]
fn an_enter_over_its_limit_goes_on_and_exits_before_the_context_around() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let outer = ready(()).map_err(|fault: Fault| TimeoutError::from(fault));
        let begun = Instant::now();
        let noting = ledger.clone();
        let result = defer(async move |outcome: &Outcome| {
            noting.note(format!("exit outer: {outcome:?}"));
            Ok(())
        })
        .with(async |()| {
            outer
                .with(async |()| {
                    let context = slow(ledger.clone(), LONG, SHORT).enter_timeout(SHORT);
                    let result = context.with(async |()| Ok(())).await;
                    assert_eq!(begun.elapsed(), SHORT);
                    ledger.note("given up");
                    result
                })
                .await
        })
        .await;
        assert_eq!(result, Err(elapsed(Phase::Enter, SHORT)));
        assert_eq!(
            ledger.text(),
            "given up, entered slow, exit slow: Cancelled, exited slow, \
             exit outer: Failed(Elapsed { phase: Enter, after: 1s })"
        );
        assert_eq!(stage.reports().len(), 1); // the context around has waited for long
        assert_eq!(begun.elapsed(), LONG + SHORT);
    });
}

#[test]
fn the_own_errors_of_a_limited_context_and_of_its_body_stay_what_they_are() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let make = |enter, exit| {
            let script = Script::new("c", &ledger).enter(enter).exit(exit);
            ByHand::<()>::new(script)
                .enter_timeout(LONG)
                .exit_timeout(LONG)
                .err_into::<TimeoutError<Fault>>()
        };
        let refused = make(End::Fail("e"), End::Ok).with(async |_| Ok(())).await;
        assert_eq!(refused, Err(TimeoutError::Context(Fault("e"))));
        let body = make(End::Ok, End::Ok)
            .with(async |_| Ok(End::Fail("b").come()?))
            .await;
        assert_eq!(body, Err(TimeoutError::Context(Fault("b"))));
        assert_eq!(stage.reports(), []);
        let exit = make(End::Ok, End::Fail("x")).with(async |_| Ok(())).await;
        assert_eq!(exit, Err(TimeoutError::Context(Fault("x"))));
        for make in [
            make(End::Panic("p"), End::Ok),
            make(End::Ok, End::Panic("p")),
        ] {
            let panics = make.with(async |_| Ok(()));
            let payload = AssertUnwindSafe(panics)
                .catch_unwind()
                .await
                .expect_err("it panics");
            assert_eq!(payload.downcast_ref(), Some(&"p"));
        }
    });
}

/// What a limit wraps is seen through by those who ask for the error's type.
#[test]
fn an_exit_finds_the_body_s_error_inside_of_a_timed_one() {
    #[async_context]
    async fn asking(ledger: Ledger) -> Result<(), Fault> {
        let ((), outcome) = yield_!(());
        let is_fault = outcome.error().is_some_and(BodyError::is::<Fault>);
        ledger.note(format!("{is_fault}"));
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let context = asking(ledger.clone()).exit_timeout(LONG);
        let result = context
            .with(async |()| Err::<(), _>(Fault("b").into()))
            .await;
        assert_eq!(result, Err(TimeoutError::Context(Fault("b"))));
        assert_eq!(ledger.text(), "true");
        let suppressed = contexts::suppress::<Fault>().enter_timeout(LONG);
        let result = suppressed
            .with(async |()| Err::<(), _>(Fault("b").into()))
            .await;
        assert_eq!(result, Ok(None));
    });
}

#[async_context]
async fn waiting_in_line(ledger: Ledger) -> Result<(), Fault> {
    let _here = ledger.on_drop("left the line");
    cancellable!(pending::<()>()).await;
    let ((), _) = yield_!(());
    Ok(())
}

#[test]
fn a_cancellable_await_is_given_up_at_the_limit_and_with_the_caller() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let at_the_limit = waiting_in_line(ledger.clone()).enter_timeout(SHORT);
        let result = at_the_limit.with(async |()| Ok(())).await;
        assert_eq!(result, Err(elapsed(Phase::Enter, SHORT)));
        assert_eq!(
            (ledger.text().as_str(), detached::count()),
            ("left the line", 0)
        );

        let with_the_caller = waiting_in_line(ledger.clone()).enter_timeout(LONG);
        assert_eq!(
            poll_times(with_the_caller.with(async |()| Ok(())), 3).await,
            None
        );
        assert_eq!((ledger.count("left"), detached::count()), (2, 0));
    });
}

#[test]
fn an_exit_over_its_limit_is_given_up_and_returned_and_those_around_go_on() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let begun = Instant::now();
        let outer = generated(Script::new("outer", &ledger)).map_err(TimeoutError::Context);
        let result = outer
            .with(async |_| {
                let hangs = slow(ledger.clone(), Duration::ZERO, LONG).exit_timeout(SHORT);
                hangs.with(async |()| Ok(sleep(LONG).await)).await
            })
            .await;
        assert_eq!(result, Err(elapsed(Phase::Exit, SHORT)));
        assert_eq!(begun.elapsed(), LONG + SHORT);
        assert_eq!(
            ledger.text(),
            "enter outer, entered outer, entered slow, exit slow: Completed, \
             exit outer: failed(Elapsed { phase: Exit, after: 1s }), exited outer"
        );
    });
}

#[test]
fn the_body_s_error_comes_before_that_of_an_exit_over_its_limit() {
    on_current_thread(async |stage| {
        let make = || slow(Ledger::default(), Duration::ZERO, LONG).exit_timeout(SHORT);
        let result = make()
            .with(async |()| Err::<(), _>(Fault("b").into()))
            .await;
        assert_eq!(result, Err(TimeoutError::Context(Fault("b"))));
        assert_eq!(stage.reports(), [(Kind::TimedOut, String::new())]);

        let both = make()
            .try_with(async |()| Err::<(), _>(Fault("b").into()))
            .await;
        assert_eq!(
            both,
            Err(Failure::BodyAndExit {
                body: TimeoutError::Context(Fault("b")),
                exit: elapsed(Phase::Exit, SHORT),
            })
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_detached_exit_and_one_after_a_panic_are_cut_off_too_with_one_report() {
    on_current_thread(async |stage| {
        let make = || slow(Ledger::default(), Duration::ZERO, LONG).exit_timeout(SHORT);
        let begun = Instant::now();
        let dropped = make().with(async |()| pending::<Result<(), _>>().await);
        assert!(tokio::time::timeout(SHORT, dropped).await.is_err());
        detached::drain().await;
        assert_eq!(begun.elapsed(), 2 * SHORT);
        assert_eq!(stage.reports(), [(Kind::TimedOut, String::new())]);

        let panics = make().with(async |()| {
            End::Panic("p").come()?;
            Ok(())
        });
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
        assert_eq!(stage.reports(), [(Kind::TimedOut, String::new())]);
    });
}

#[test]
fn the_time_of_exit_begins_after_detached_exits_inside_have_ended() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let outer = slow(ledger.clone(), Duration::ZERO, SHORT).exit_timeout(2 * SHORT);
        let result = outer
            .with(async |()| {
                let inner = slow(Ledger::default(), Duration::ZERO, LONG);
                let never = inner.with(async |()| pending::<Result<(), _>>().await);
                assert!(tokio::time::timeout(SHORT, never).await.is_err());
                Ok(())
            })
            .await;
        assert_eq!(result, Ok(()));
        assert_eq!(stage.reports().len(), 1); // it has waited for long
    });
}

#[test]
fn what_an_exit_that_is_cut_off_had_opened_is_reported_and_not_waited_for() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let noting = ledger.clone();
        let exits = defer(async move |_: &Outcome| {
            let inner = slow(noting, Duration::ZERO, LONG);
            inner.with(async |()| Ok(())).await
        });
        let outer = ready(()).map_err(|fault: Fault| TimeoutError::from(fault));
        let begun = Instant::now();
        let result = outer
            .with(async |()| exits.exit_timeout(SHORT).with(async |()| Ok(())).await)
            .await;
        assert_eq!(result, Err(elapsed(Phase::Exit, SHORT)));
        assert_eq!(begun.elapsed(), SHORT);
        let kinds: Vec<_> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::LetGo]);
        detached::drain().await;
        assert!(ledger.text().ends_with("exited slow"), "{}", ledger.text());
    });
}

#[test]
fn of_an_exit_with_a_limit_made_of_several_those_not_begun_go_on() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let make = |name, exit| {
            let ledger = ledger.clone();
            defer(async move |outcome: &Outcome| {
                ledger.note(format!("exit {name}: {outcome:?}"));
                sleep(exit).await;
                ledger.note(format!("exited {name}"));
                Ok::<_, Fault>(())
            })
            .boxed()
        };
        let all = vec![make("a", SHORT), make("b", LONG), make("c", SHORT)];
        let body = || async move |_: &mut Vec<()>| Err::<(), _>(TimeoutError::Context(Fault("b")));
        let result = all.exit_timeout(2 * SHORT).with(body()).await;
        assert_eq!(result, Err(TimeoutError::Context(Fault("b"))));
        detached::drain().await;
        assert_eq!(stage.reports(), [(Kind::TimedOut, String::new())]);
        assert_eq!(
            ledger.text(),
            "exit c: Failed(Context(Fault(\"b\"))), exited c, exit b: Failed(Context(Fault(\"b\"))), \
             exit a: Cancelled, exited a"
        );
    });
}

#[test]
fn contexts_with_limits_dropped_at_every_poll_are_exited_once_in_order() {
    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger| {
                let make = |name| ByHand::<()>::new(Script::new(name, &ledger));
                let outer = make("outer").enter_timeout(LONG);
                let inner = make("inner").exit_timeout(LONG);
                let both = make("both").enter_timeout(LONG).exit_timeout(LONG);
                outer
                    .with(async |_| {
                        inner
                            .with(async |_| {
                                let both = both.err_into::<TimeoutError<Fault>>();
                                both.with(async |_| Ok(pause(2).await)).await
                            })
                            .await
                    })
                    .await
            },
            |_, ended, ledger| {
                ledger.check_nesting();
                assert!(ended.is_none_or(|result| result.is_ok()));
            },
        )
        .await;
    });
}

#[test]
fn without_a_tokio_runtime_the_time_is_measured_on_the_thread_of_the_crate() {
    let _stage = Stage::alone();
    let limit = Duration::from_millis(20);
    let make = || {
        defer(async |_: &Outcome| {
            pending::<()>().await;
            Ok::<_, Fault>(())
        })
    };
    futures::executor::block_on(async {
        let result = make().exit_timeout(limit).with(async |()| Ok(())).await;
        assert_eq!(result, Err(elapsed(Phase::Exit, limit)));
        let waiting = waiting_in_line(Ledger::default()).enter_timeout(limit);
        let result = waiting.with(async |()| Ok(())).await;
        assert_eq!(result, Err(elapsed(Phase::Enter, limit)));
    });
}

#[test]
fn on_a_runtime_without_a_timer_enter_panics_before_anything_has_begun() {
    let _stage = Stage::alone();
    let runtime = Builder::new_current_thread().build().expect("it starts");
    let ledger = Ledger::default();
    let make = || generated(Script::new("c", &ledger));
    runtime.block_on(async {
        let enter = make().enter_timeout(SHORT).with(async |_| Ok(()));
        assert!(AssertUnwindSafe(enter).catch_unwind().await.is_err());
        let exit = make().exit_timeout(SHORT).with(async |_| Ok(()));
        assert!(AssertUnwindSafe(exit).catch_unwind().await.is_err());
    });
    assert_eq!(ledger.text(), "");
}

#[test]
fn the_limit_of_an_exit_holds_when_its_runtime_shuts_down() {
    let stage = Stage::alone();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("it starts");
    let limit = Duration::from_millis(50);
    runtime.block_on(async {
        let context = defer(async |_: &Outcome| {
            pending::<()>().await;
            Ok::<_, Fault>(())
        });
        // Dropped while its exit runs: it moves to the background, and then to another runtime.
        let exiting = context.exit_timeout(limit).with(async |()| Ok(()));
        assert_eq!(poll_times(exiting, 2).await, None);
    });
    drop(runtime);
    assert_eq!(detached::drain_blocking(LONG), 0);
    assert_eq!(stage.reports(), [(Kind::TimedOut, String::new())]);
}

#[test]
fn a_timed_error_shows_what_was_late_or_the_error_itself() {
    let late = elapsed(Phase::Enter, SHORT);
    assert_eq!(late.to_string(), "enter was not over after 1s");
    assert!(late.source().is_none() && late.is_elapsed());
    let late = elapsed(Phase::Exit, Duration::from_millis(5));
    assert_eq!(late.to_string(), "exit was not over after 5ms");
    let own = TimeoutError::from(Fault("own"));
    assert_eq!(own.to_string(), "own");
    assert!(!own.is_elapsed());
    let behind = TimeoutError::from(Failure::<(), _>::Body(Fault("behind")));
    let source = behind.source().map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("behind"));
    let nested: TimeoutError<Fault> = TimeoutError::Context(late.clone()).into();
    assert_eq!(nested, late);
}

/// An exit that never ends, with a limit.
fn hangs() -> impl AsyncContext<Value = (), Error = TimeoutError<Fault>, Verdict = ()> + 'static {
    defer(async |_: &Outcome| Ok::<_, Fault>(pending().await)).exit_timeout(SHORT)
}

/// However the context is used, and whoever is there: its one exit over its limit is told once.
async fn is_told_once<C>(stage: &Stage, make: impl Fn() -> C, error: fn(Fault) -> C::Error)
where
    C: AsyncContext<Verdict = (), Error: PartialEq> + 'static,
{
    let reported = [(Kind::TimedOut, String::new())];

    // Returned.
    assert!(make().with(async |_| Ok(())).await.is_err());
    let tried = make().try_with(async |_| Ok(())).await;
    assert!(matches!(tried, Err(Failure::Exit { .. })));
    let tried = make().try_with(async |_| Err::<(), _>(error(Fault("b"))));
    assert!(matches!(tried.await, Err(Failure::BodyAndExit { .. })));
    let guard = make().guard().await.expect("it enters");
    assert!(Guard::close(guard).await.is_err());
    let stack = ExitStack::<C::Error>::new();
    drop(stack.enter(make()).await);
    let exit = stack.try_exit(Err::<(), _>(error(Fault("b")))).await;
    assert_eq!(exit.expect_err("both fail").exits.len(), 1);
    let stack = ExitStack::<C::Error>::new();
    let lease = stack.enter(make()).await.expect("it enters");
    assert!(lease.release().await.is_err());
    assert_eq!(stage.reports(), []);

    // The caller gets something else.
    let fails = make().with(async |_| Err::<(), _>(error(Fault("b")))).await;
    assert!(fails == Err(error(Fault("b"))));
    assert_eq!(stage.reports(), reported);
    let panics = make().with(async |_| -> Result<(), _> { resume_unwind(Box::new("p")) });
    assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
    assert_eq!(stage.reports(), reported);
    let guard = make().guard().await.expect("it enters");
    let exit = Guard::exit(guard, Err::<(), _>(error(Fault("b")))).await;
    assert!(exit == Err(error(Fault("b"))));
    assert_eq!(stage.reports(), reported);
    let stack = ExitStack::<C::Error>::new();
    drop(stack.enter(make()).await);
    assert!(stack.exit(Err::<(), _>(error(Fault("b")))).await == Err(error(Fault("b"))));
    assert_eq!(stage.reports(), reported);

    // The caller has left: in the body, in exit, a guard, a stack.
    let used = make().with(async |_| pending::<Result<(), _>>().await);
    assert!(timeout(SHORT / 2, used).await.is_err());
    detached::drain().await;
    assert_eq!(stage.reports(), reported);
    let used = make().with(async |_| Ok(()));
    assert!(timeout(SHORT / 2, used).await.is_err());
    detached::drain().await;
    assert_eq!(stage.reports(), reported);
    drop(make().guard().await);
    detached::drain().await;
    assert_eq!(stage.reports(), reported);
    for is_exiting in [false, true] {
        let stack = ExitStack::<C::Error>::new();
        drop(stack.enter(make()).await);
        if is_exiting {
            assert!(timeout(SHORT / 2, stack.exit(Ok(()))).await.is_err());
        } else {
            drop(stack);
        }
        detached::drain().await;
        assert_eq!(stage.reports(), reported);
    }
}

/// Regression: it was reported where it was returned, and reported twice where it was not.
#[test]
fn an_exit_over_its_limit_is_told_once() {
    #[derive(Debug, PartialEq)]
    struct AppError(TimeoutError<Fault>);

    impl From<TimeoutError<Fault>> for AppError {
        fn from(error: TimeoutError<Fault>) -> Self {
            Self(error)
        }
    }

    on_current_thread(async |stage| {
        let timed = TimeoutError::Context;
        is_told_once(stage, hangs, timed).await;
        is_told_once(
            stage,
            || hangs().err_into::<AppError>(),
            |b| AppError(TimeoutError::Context(b)),
        )
        .await;
        is_told_once(stage, || hangs().boxed(), timed).await;
        is_told_once(stage, || hangs().cancellable_enter(), timed).await;
        is_told_once(stage, || Some(hangs()), timed).await;
        is_told_once(stage, || Some(Some(hangs())), timed).await;
        let left = || Either::<_, BoxContext<(), TimeoutError<Fault>>>::Left(hangs());
        is_told_once(stage, left, timed).await;
        let twice = || hangs().exit_timeout(LONG).err_into::<TimeoutError<Fault>>();
        is_told_once(stage, twice, timed).await;
        let enter = || {
            hangs()
                .enter_timeout(LONG)
                .err_into::<TimeoutError<Fault>>()
        };
        is_told_once(stage, enter, timed).await;
        is_told_once(stage, || vec![hangs()], timed).await;
        is_told_once(stage, || [hangs()], timed).await;
        is_told_once(stage, || join((hangs(),)), timed).await;
        is_told_once(stage, || join_all([hangs()]), timed).await;
        is_told_once(
            stage,
            || {
                vec![Some(hangs())]
                    .exit_timeout(LONG)
                    .err_into::<TimeoutError<Fault>>()
            },
            timed,
        )
        .await;
    });
}

#[test]
fn of_several_exits_over_their_limits_one_is_returned_and_the_others_are_reported() {
    on_current_thread(async |stage| {
        let reported = [(Kind::TimedOut, String::new())];
        let late = Err(elapsed(Phase::Exit, SHORT));
        assert_eq!(vec![hangs(), hangs()].with(async |_| Ok(())).await, late);
        assert_eq!(stage.reports(), reported);
        assert_eq!(join((hangs(), hangs())).with(async |_| Ok(())).await, late);
        assert_eq!(stage.reports(), reported);
        let stack = ExitStack::<TimeoutError<Fault>>::new();
        for _ in 0..2 {
            drop(stack.enter(hangs()).await);
        }
        assert_eq!(stack.exit(Ok(())).await, late);
        assert_eq!(stage.reports(), reported);

        let ignored = hangs().ignore_exit_errors();
        assert_eq!(ignored.with(async |()| Ok(())).await, Ok(()));
        assert_eq!(stage.reports(), reported);

        // One that a program's own exit uses fails that one.
        let outer = defer(async |_: &Outcome| hangs().with(async |()| Ok(())).await);
        drop(outer.guard().await);
        detached::drain().await;
        let [(Kind::ExitFailed, _)] = stage.reports()[..] else {
            panic!("it is the error of the outer exit");
        };
    });
}
