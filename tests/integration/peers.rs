//! What other systems test of theirs, in this crate's terms, as far as no other module does: see the
//! tables in `peers/`.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_context_manager::report::Kind;
use async_context_manager::{
    BodyError, SendBody, closing, detached, join, prelude::*, ready, tasks,
};
use tests::{
    End, Fault, Ledger, Script, everywhere, generated, generated_suppressing, pause, poll_times,
};

fn noting(
    ledger: &Ledger,
    line: &'static str,
    end: End,
) -> impl for<'o> SendBody<&'o Outcome, Result<(), Fault>> + use<> {
    let ledger = ledger.clone();
    async move |outcome: &Outcome| {
        ledger.note(format!("{line}: {outcome:?}"));
        end.come().map(|_| ())
    }
}

type Stack = ExitStack<Fault, Suppression>;

async fn suppressing(stack: &Stack, ledger: &Ledger) {
    let script = Script::new("suppressor", ledger).exit(End::Suppress);
    let entered = stack.enter(generated_suppressing(script)).await;
    drop(entered.expect("it opens"));
}

fn abouts(reports: Vec<(Kind, String)>) -> Vec<String> {
    reports.into_iter().map(|(_, about)| about).collect()
}

#[test]
fn entries_inside_of_a_suppressing_one_see_the_error_and_those_outside_see_completed() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = Stack::suppressing();
        let adopt = |line| {
            let ledger = ledger.clone();
            let close = async move |(), outcome: &Outcome| {
                ledger.note(format!("{line}: {outcome:?}"));
                Ok(())
            };
            drop(stack.adopt((), close));
        };
        stack.defer(noting(&ledger, "outermost", End::Ok));
        adopt("outside");
        suppressing(&stack, &ledger).await;
        adopt("inside");
        stack.defer(noting(&ledger, "innermost", End::Ok));
        assert_eq!(stack.exit::<()>(Err(Fault("body"))).await, Ok(None));
        assert_eq!(
            ledger.text(),
            "enter suppressor, entered suppressor, \
             innermost: Failed(Fault(\"body\")), inside: Failed(Fault(\"body\")), \
             exit suppressor: failed(Fault(\"body\")), exited suppressor, \
             outside: Completed, outermost: Completed"
        );
    });
}

/// Three failing exits around a suppression, one inside of it.
async fn chain(ledger: &Ledger) -> Stack {
    let stack = Stack::suppressing();
    for line in ["first", "second", "third"] {
        stack.defer(noting(ledger, line, End::Fail(line)));
    }
    suppressing(&stack, ledger).await;
    stack.defer(noting(ledger, "inner", End::Fail("inner")));
    stack
}

#[test]
fn failing_exits_around_a_suppression_are_kept_and_one_inside_of_it_is_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let exit = chain(&ledger)
            .await
            .try_exit::<()>(Err(Fault("body")))
            .await;
        let failure = exit.expect_err("exits fail");
        let errors: Vec<_> = failure.errors().map(|error| error.0).collect();
        assert_eq!(errors, ["third", "second", "first"]);
        assert_eq!((failure.body, failure.value), (None, None));
        assert!(ledger.has("exit suppressor: failed(Fault(\"body\"))"));
        assert!(ledger.has("first: Failed(Fault(\"third\"))"));
        assert_eq!(abouts(stage.reports()), ["Fault(\"inner\")"]);
    });
}

#[test]
fn nested_uses_and_a_stack_return_and_report_the_same_errors() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let script = |name: &'static str| Script::new(name, &ledger).exit(End::Fail(name));
        let suppressor = Script::new("suppressor", &ledger).exit(End::Suppress);
        let nested = generated(script("first")).with(async |_| {
            generated(script("second"))
                .with(async |_| {
                    generated(script("third"))
                        .with(async |_| {
                            generated_suppressing(suppressor)
                                .with(async |_| {
                                    generated(script("inner"))
                                        .with(async |_| End::Fail("body").come().map(|_| ()))
                                        .await
                                })
                                .await
                        })
                        .await
                })
                .await
        });
        let nested = nested.await;
        let nested_reports = abouts(stage.reports());

        let stacked = chain(&ledger).await;
        let stacked = stacked.exit::<()>(Err(Fault("body"))).await;
        assert_eq!(stacked, nested);
        assert_eq!(stacked, Err(Fault("third")));
        assert_eq!(abouts(stage.reports()), nested_reports);
        assert_eq!(nested_reports.len(), 3, "{nested_reports:?}");
    });
}

#[test]
fn what_is_taken_and_exited_inside_of_a_scope_does_not_exit_again_at_its_end() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let scope = ExitStack::<Fault>::scope(async |stack| {
            stack.defer(noting(&ledger, "deferred", End::Ok));
            stack.take().exit(Ok(())).await?;
            ledger.note("body");
            Ok(())
        });
        assert_eq!(scope.await, Ok(()));
        assert_eq!(ledger.text(), "deferred: Completed, body");
    });
}

#[test]
fn a_stack_returns_the_error_that_its_entries_propagate() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = Stack::suppressing();
        let script = Script::new("c", &ledger);
        drop(stack.enter(generated_suppressing(script)).await);
        assert_eq!(
            stack.exit::<()>(Err(Fault("body"))).await,
            Err(Fault("body"))
        );
    });
}

#[test]
fn an_exit_s_error_outside_of_a_suppression_comes_back() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = Stack::suppressing();
        stack.defer(noting(&ledger, "outer", End::Fail("outer")));
        suppressing(&stack, &ledger).await;
        stack.defer(noting(&ledger, "inner", End::Fail("inner")));
        assert_eq!(stack.exit(Ok(())).await, Err(Fault("outer")));
        assert!(ledger.has("outer: Completed"), "{}", ledger.text());
    });
}

#[test]
fn a_suppressing_entry_suppresses_a_chain_of_exit_errors() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = Stack::suppressing();
        suppressing(&stack, &ledger).await;
        stack.defer(noting(&ledger, "second", End::Fail("second")));
        stack.defer(noting(&ledger, "first", End::Fail("first")));
        assert_eq!(stack.exit(Ok(1)).await, Ok(None));
        assert!(ledger.has("exit suppressor: failed(Fault(\"first\"))"));
        assert_eq!(abouts(stage.reports()), ["Fault(\"second\")"]);
    });
}

#[test]
fn an_error_keeps_its_own_source_beside_the_others() {
    #[derive(Debug)]
    struct Caused(Fault);

    impl fmt::Display for Caused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("caused")
        }
    }

    impl Error for Caused {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    everywhere(async |_| {
        let stack = ExitStack::<Caused>::new();
        stack.defer(async |_: &Outcome| Err(Caused(Fault("exit's"))));
        let exit = stack.try_exit::<()>(Err(Caused(Fault("body's")))).await;
        let failure = exit.expect_err("both fail");
        let sources: Vec<_> = failure
            .errors()
            .map(|error| error.source().expect("it has one").to_string())
            .collect();
        assert_eq!(sources, ["body's", "exit's"]);
        let primary = failure.source().expect("there is one");
        assert_eq!(primary.source().expect("it has one").to_string(), "body's");
    });
}

#[test]
fn a_suppressing_exit_may_suppress_one_type_of_error_only() {
    #[async_context(suppress)]
    async fn forgiving() -> Result<(), Box<dyn Error + Send + Sync>> {
        let ((), outcome) = yield_!(());
        let expected = outcome.error().is_some_and(BodyError::is::<Fault>);
        Ok(if expected {
            Suppression::Suppress
        } else {
            Suppression::Propagate
        })
    }

    everywhere(async |_| {
        let fault = forgiving().with(async |()| Err::<(), _>(Fault("expected").into()));
        assert!(matches!(fault.await, Ok(None)));
        let other = forgiving().with(async |()| Err::<(), _>(fmt::Error.into()));
        assert!(other.await.is_err_and(|error| error.is::<fmt::Error>()));
    });
}

#[async_context]
async fn counted(open: &AtomicUsize) -> Result<(), Fault> {
    open.fetch_add(1, Ordering::SeqCst);
    let ((), _) = yield_!(());
    open.fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

fn is_open(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}

static OPEN: AtomicUsize = AtomicUsize::new(0);

#[within(counted(&OPEN))]
async fn inside(result: Result<u8, Fault>) -> Result<u8, Fault> {
    assert_eq!(is_open(&OPEN), 1);
    pause(1).await;
    result
}

#[test]
fn the_body_of_a_function_within_a_context_runs_inside_of_it_and_not_its_call() {
    everywhere(async |_| {
        for result in [Ok(7), Err(Fault("x"))] {
            let call = inside(result.clone());
            assert_eq!(is_open(&OPEN), 0, "a call runs nothing");
            assert_eq!(call.await, result);
            assert_eq!(is_open(&OPEN), 0);
        }
    });
}

#[test]
fn a_function_within_a_context_enters_it_at_each_call_also_one_inside_another() {
    static DEPTH: AtomicUsize = AtomicUsize::new(0);

    #[within(counted(&DEPTH), local)] // it calls itself
    async fn down() -> Result<usize, Fault> {
        match is_open(&DEPTH) {
            10 => Ok(10),
            _ => Box::pin(down()).await,
        }
    }

    everywhere(async |_| {
        assert_eq!(down().await, Ok(10));
        assert_eq!(is_open(&DEPTH), 0);
    });
}

#[test]
fn a_method_within_a_context_gets_its_arguments() {
    static ADDING: AtomicUsize = AtomicUsize::new(0);

    struct Adder(usize);

    impl Adder {
        #[within(counted(&ADDING))]
        async fn add(&mut self, (a, b): (usize, usize)) -> Result<usize, Fault> {
            self.0 += a + b + is_open(&ADDING);
            Ok(self.0)
        }
    }

    everywhere(async |_| {
        let mut adder = Adder(1);
        assert_eq!(adder.add((10, 100)).await, Ok(112));
        assert_eq!((adder.0, is_open(&ADDING)), (112, 0));
    });
}

#[test]
fn adopt_takes_values_of_any_type() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        let nothing = stack.adopt(None::<u8>, async |_: Option<u8>, _: &Outcome| Ok(()));
        let closing = ledger.clone();
        let function = stack.adopt(
            (|n| n + 1) as fn(u8) -> u8,
            async move |add: fn(u8) -> u8, _: &Outcome| {
                closing.note(add(1).to_string());
                Ok(())
            },
        );
        let kept = stack.adopt(ledger.on_drop("dropped"), async |_, _: &Outcome| Ok(()));
        assert_eq!((*nothing, function(2)), (None, 3));
        drop((nothing, function, kept));
        assert_eq!(stack.exit(Ok(())).await, Ok(()));
        assert_eq!(ledger.text(), "dropped, 2");
    });
}

#[test]
fn the_exit_of_a_stack_goes_on_with_its_outcome_when_its_future_is_dropped_unpolled() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        drop(stack.enter(generated(Script::new("c", &ledger))).await);
        drop(stack.exit::<()>(Err(Fault("body"))));
        detached::drain().await;
        assert!(ledger.has("exit c: failed(Fault(\"body\"))"));
        assert!(ledger.has("exited c"));
        assert_eq!(
            stage.reports(),
            [(Kind::BodyFailed, "Fault(\"body\")".to_owned())]
        );
    });
}

/// Waits in its enter, in an await that may be given up.
#[async_context]
async fn patient(ledger: Ledger) -> Result<(), Fault> {
    let _given_up = ledger.on_drop("given up");
    cancellable!(pause(2)).await;
    ledger.note("got it");
    let ((), outcome) = yield_!(());
    ledger.note(format!("exit: {outcome:?}"));
    Ok(())
}

#[test]
fn a_cancellable_await_of_an_inner_context_does_not_make_the_outer_enter_cancellable() {
    #[async_context]
    async fn outer(ledger: Ledger) -> Result<(), Fault> {
        patient(ledger.clone()).with(async |()| Ok(())).await?;
        let ((), outcome) = yield_!(());
        ledger.note(format!("outer exit: {outcome:?}"));
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let dropped = poll_times(outer(ledger.clone()).with(async |()| Ok(())), 1).await;
        assert_eq!(dropped, None);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "got it, exit: Completed, given up, outer exit: Cancelled"
        );
    });
}

#[test]
fn a_use_that_is_given_up_in_a_cancellable_await_ends_its_own_enter_and_exits() {
    #[async_context]
    async fn outer(ledger: Ledger) -> Result<(), Fault> {
        let inner = generated(Script::new("inner", &ledger));
        cancellable!(inner.with(async |_| Ok(()))).await?;
        let ((), _) = yield_!(());
        ledger.note("not reached");
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let dropped = poll_times(outer(ledger.clone()).with(async |()| Ok(())), 1).await;
        assert_eq!(dropped, None);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter inner, entered inner, exit inner: cancelled, exited inner"
        );
    });
}

#[test]
fn a_guard_does_not_exit_before_it_is_closed() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let plain = generated(Script::new("plain", &ledger)).guard().await;
        let converted = generated(Script::new("converted", &ledger)).map_err(|fault| fault.0);
        let converted = converted.guard().await;
        let (plain, converted) = (plain.expect("it opens"), converted.expect("it opens"));
        pause(5).await;
        assert_eq!(ledger.count("exit"), 0);
        assert_eq!((*plain, *converted), ("plain", "converted"));
        assert_eq!(Guard::close(converted).await, Ok(()));
        assert!(ledger.has("exited converted") && !ledger.has("exited plain"));
        assert_eq!(Guard::close(plain).await, Ok(()));
        ledger.check_nesting();
    });
}

#[test]
fn a_context_with_converted_errors_sees_the_same_outcome() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let converted =
            |name| generated(Script::new(name, &ledger)).map_err(|fault| fault.0.to_owned());
        let completed = converted("a").with(async |_| Ok(1)).await;
        assert_eq!(completed, Ok(1));
        let failed = converted("b").with(async |_| Err::<(), _>("x".to_owned()));
        assert_eq!(failed.await, Err("x".to_owned()));
        let pending = converted("c").with(async |_| {
            pause(9).await;
            Ok(())
        });
        assert_eq!(poll_times(pending, 5).await, None);
        detached::drain().await;
        for line in [
            "exit a: completed",
            "exit b: failed(\"x\")",
            "exit c: cancelled",
        ] {
            assert!(ledger.has(line), "{}", ledger.text());
        }
    });
}

#[test]
fn a_context_with_converted_errors_keeps_its_cancellable_awaits() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let converted = patient(ledger.clone()).map_err(|fault| fault.0);
        let dropped = poll_times(converted.with(async |()| Ok(())), 1).await;
        assert_eq!(dropped, None);
        assert_eq!(ledger.text(), "given up");
        assert_eq!(detached::count(), 0);
    });
}

#[test]
fn a_context_entered_in_the_enter_of_another_is_open_for_its_body_and_exits_within_its_exit() {
    #[async_context]
    async fn outer(ledger: Ledger) -> Result<&'static str, Fault> {
        let inner = generated(Script::new("inner", &ledger)).guard().await?;
        let (_, _) = yield_!(*inner);
        Guard::close(inner).await?;
        ledger.note("outer is over");
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let used = outer(ledger.clone()).with(async |value| {
            ledger.note(format!("body with {value}"));
            Ok(*value)
        });
        assert_eq!(used.await, Ok("inner"));
        assert_eq!(
            ledger.text(),
            "enter inner, entered inner, body with inner, \
             exit inner: completed, exited inner, outer is over"
        );
    });
}

#[test]
fn a_use_is_over_before_the_next_one_begins() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        for name in ["first", "second"] {
            let used = generated(Script::new(name, &ledger)).with(async |_| Ok(()));
            assert_eq!(used.await, Ok(()));
        }
        assert_eq!(
            ledger.text(),
            "enter first, entered first, exit first: completed, exited first, \
             enter second, entered second, exit second: completed, exited second"
        );
    });
}

#[test]
fn a_context_that_has_been_exited_hears_nothing_of_a_later_cancellation() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let both = async {
            let first = generated(Script::new("first", &ledger));
            first.with(async |_| Ok(())).await?;
            let second = generated(Script::new("second", &ledger));
            let forever = second.with(async |_| {
                pause(99).await;
                Ok(())
            });
            forever.await
        };
        assert_eq!(poll_times(both, 12).await, None);
        detached::drain().await;
        assert_eq!(ledger.count("exit first"), 1);
        assert!(ledger.has("exit first: completed"));
        assert!(ledger.has("exit second: cancelled"), "{}", ledger.text());
    });
}

/// A value with a closing function that writes, and fails where it is told to.
fn closing_noting(
    ledger: &Ledger,
    end: End,
) -> impl AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + 'static {
    let ledger = ledger.clone();
    closing("value", async move |value: &'static str| {
        ledger.note(format!("closed {value}"));
        end.come().map(|_| ())
    })
}

#[test]
fn closing_lends_the_value_and_closes_it_once() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let context = closing_noting(&ledger, End::Ok);
        assert_eq!(ledger.text(), "", "nothing is closed that was not entered");
        let used = context.with(async |value| {
            ledger.note(format!("body with {value}"));
            Ok(*value)
        });
        assert_eq!(used.await, Ok("value"));
        assert_eq!(ledger.text(), "body with value, closed value");
        let failing = closing_noting(&ledger, End::Fail("x"));
        assert_eq!(failing.with(async |_| Ok(())).await, Err(Fault("x")));
    });
}

#[test]
fn closing_closes_after_an_error_and_after_a_drop() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let failed = closing_noting(&ledger, End::Ok).with(async |_| Err::<(), _>(Fault("body")));
        assert_eq!(failed.await, Err(Fault("body")));
        assert_eq!(ledger.count("closed value"), 1);
        let forever = closing_noting(&ledger, End::Ok);
        let forever = forever.with(async |_| std::future::pending::<Result<(), _>>().await);
        assert_eq!(poll_times(forever, 1).await, None);
        detached::drain().await;
        assert_eq!(ledger.count("closed value"), 2);
    });
}

#[test]
fn ready_lends_its_value_and_does_nothing() {
    everywhere(async |_| {
        for body in [Ok(()), Err(Fault("body"))] {
            let ledger = Ledger::default();
            let value = ledger.on_drop("dropped");
            let used = ready((7, value)).with(async |(number, _)| {
                assert_eq!((*number, ledger.lines().len()), (7, 0));
                body.clone()
            });
            assert_eq!(used.await, body);
            assert_eq!(ledger.text(), "dropped");
        }
    });
}

#[test]
fn none_is_a_context_that_does_nothing() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        for wanted in [None, Some("c")] {
            let context = || wanted.map(|name| generated(Script::new(name, &ledger)));
            assert_eq!(context().with(async |value| Ok(*value)).await, Ok(wanted));
            let stack = ExitStack::<Fault>::new();
            let lease = stack.enter(context()).await.expect("it opens");
            assert_eq!(*lease, wanted);
            drop(lease);
            assert_eq!(stack.exit(Ok(())).await, Ok(()));
        }
        assert_eq!((ledger.count("entered"), ledger.count("exited")), (2, 2));
    });
}

#[test]
fn the_sides_of_a_join_enter_and_exit_concurrently() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let side = |name| generated(Script::new(name, &ledger));
        let used = join((side("left"), side("right"))).with(async |(left, right)| {
            ledger.note("body");
            Ok((*left, *right))
        });
        assert_eq!(used.await, Ok(("left", "right")));
        let lines = ledger.lines();
        let sorted: Vec<_> = lines
            .chunks(2)
            .map(|pair| {
                let mut pair: Vec<_> = pair.iter().map(String::as_str).collect();
                pair.sort_unstable();
                pair.join(" and ")
            })
            .collect();
        assert_eq!(ledger.lines()[4], "body");
        assert_eq!(
            sorted[..2],
            [
                "enter left and enter right",
                "entered left and entered right"
            ]
        );
        let exits = ledger.lines()[5..7].join(" ");
        assert_eq!((exits.matches("exit ").count(), lines.len()), (2, 9));
    });
}

/// A side with another context inside of it.
#[async_context]
async fn side(script: Script, inner: &'static str) -> Result<(), Fault> {
    let inner = Script::new(inner, &script.ledger);
    let outer = generated(script).guard().await?;
    let inner = generated(inner).guard().await?;
    let ((), outcome) = yield_!(());
    let completed = outcome.is_completed();
    Guard::close(inner).await?;
    Guard::close(outer).await?;
    assert!(completed);
    Ok(())
}

#[test]
fn each_side_of_a_join_exits_in_reverse_order() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let side = |outer, inner| side(Script::new(outer, &ledger), inner);
        let joined = join((side("left", "left inner"), side("right", "right inner")));
        assert_eq!(joined.with(async |_| Ok(())).await, Ok(()));
        for name in ["left", "right"] {
            let lines = ledger.lines();
            let exits = lines.iter().filter(|line| line.starts_with("exit"));
            let exits: Vec<_> = exits.filter(|line| line.contains(name)).collect();
            let inner = format!("{name} inner");
            assert_eq!(
                exits,
                [
                    &format!("exit {inner}: completed"),
                    &format!("exited {inner}"),
                    &format!("exit {name}: completed"),
                    &format!("exited {name}"),
                ]
            );
        }
    });
}

#[test]
fn each_side_of_a_join_sees_the_outcome_of_the_body() {
    everywhere(async |_| {
        for (result, told) in [
            (Some(Ok(())), "completed"),
            (Some(Err(Fault("body"))), "failed(Fault(\"body\"))"),
            (None, "cancelled"),
        ] {
            let ledger = Ledger::default();
            let side = |name| generated(Script::new(name, &ledger));
            let used = join((side("left"), side("right"))).with(async |_| match &result {
                Some(result) => result.clone(),
                None => std::future::pending().await,
            });
            assert_eq!(poll_times(used, 20).await, result);
            detached::drain().await;
            for name in ["left", "right"] {
                let line = format!("exit {name}: {told}");
                assert!(ledger.has(&line), "{line}: {}", ledger.text());
                assert!(ledger.has(&format!("exited {name}")), "{}", ledger.text());
            }
        }
    });
}

#[test]
fn when_one_side_of_a_join_fails_to_enter_the_other_is_ended_and_exited_with_that_failure() {
    /// Takes much longer than the other side, which has failed by then.
    #[async_context]
    async fn slow(ledger: Ledger) -> Result<(), Fault> {
        pause(9).await;
        ledger.note("slow side entered");
        let ((), outcome) = yield_!(());
        ledger.note(format!("slow side: {outcome:?}"));
        Ok(())
    }

    everywhere(async |_| {
        for slow_is_left in [true, false] {
            let ledger = Ledger::default();
            let failing = generated(Script::new("failing", &ledger).enter(End::Fail("x")));
            let ended = if slow_is_left {
                let joined = join((slow(ledger.clone()), failing));
                joined
                    .with(async |_| {
                        ledger.note("body");
                        Ok(())
                    })
                    .await
            } else {
                let joined = join((failing, slow(ledger.clone())));
                joined
                    .with(async |_| {
                        ledger.note("body");
                        Ok(())
                    })
                    .await
            };
            assert_eq!((ended, ledger.has("body")), (Err(Fault("x")), false));
            assert!(
                ledger.has("slow side: Failed(Fault(\"x\"))"),
                "{}",
                ledger.text()
            );
        }
    });
}

#[test]
fn tasks_run_beside_the_body_and_are_joined_when_it_completes() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let outer = generated(Script::new("outer", &ledger));
        let used = outer.with(async |_| {
            let group = tasks().with(async |tasks| {
                for name in ["first", "second"] {
                    let context = generated(Script::new(name, &ledger));
                    let inside = ledger.clone();
                    tasks.spawn(async move {
                        let used = context.with(async |_| {
                            inside.until("body").await;
                            Ok(())
                        });
                        used.await
                    });
                }
                ledger.until("entered first").await;
                ledger.until("entered second").await;
                ledger.note("body");
                Ok(())
            });
            group.await
        });
        assert_eq!(used.await, Ok(()));
        for name in ["first", "second"] {
            assert!(ledger.has(&format!("exit {name}: completed")));
        }
        assert_eq!(ledger.count("exited"), 3);
        assert!(
            ledger
                .text()
                .ends_with("exit outer: completed, exited outer")
        );
    });
}
