//! Contexts on a stack: order, outcomes, errors, leases, drops.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use async_context_manager::report::Kind;
use async_context_manager::{SendBody, StackFailure, detached, prelude::*};
use futures::FutureExt;
use tests::{
    ByHand, End, Fault, Ledger, Script, cancel_at_every_poll, everywhere, generated,
    generated_suppressing, pause, poll_times,
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

fn errors<R>(failure: &StackFailure<R, Fault>) -> Vec<&'static str> {
    failure.errors().map(|fault| fault.0).collect()
}

#[test]
fn an_empty_stack_exits_at_the_first_poll() {
    everywhere(async |_| {
        let stack = ExitStack::<Fault>::new();
        assert!(stack.is_empty());
        assert_eq!(stack.exit(Ok(7)).now_or_never(), Some(Ok(7)));
        drop(ExitStack::<Fault>::new());
        assert_eq!(detached::count(), 0, "nothing is handed over");
        let mut polled = false;
        let scope = ExitStack::<Fault>::scope(async |stack| {
            polled = stack.is_empty();
            Ok(())
        });
        assert_eq!(scope.now_or_never(), Some(Ok(())));
        assert!(polled);
    });
}

#[test]
fn many_entries_are_released_in_any_order_and_the_others_exit_in_reverse() {
    everywhere(async |_| {
        let exited = Arc::new(Mutex::new(Vec::new()));
        let stack = ExitStack::<Fault>::new();
        let enter = |number: usize| {
            let exited = exited.clone();
            stack.adopt(number, async move |number: usize, _: &Outcome| {
                exited.lock().expect("no one panics with it").push(number);
                Ok(())
            })
        };
        let mut leases: Vec<_> = (0..200).map(|number| Some(enter(number))).collect();
        // 37 and 200 have no common factor: this is each of them, in an order of its own.
        let released: Vec<usize> = (0..150).map(|step| step * 37 % 200).collect();
        for (count, number) in released.iter().enumerate() {
            let lease = leases[*number].take().expect("each comes once");
            lease.release().await.expect("its exit has no error");
            assert_eq!(stack.len(), 199 - count);
        }
        leases.extend((200..210).map(|number| Some(enter(number))));
        let mut left: Vec<usize> = leases.iter().flatten().map(|lease| **lease).collect();
        assert_eq!(left.len(), stack.len());
        drop(leases);
        stack.exit(Ok(())).await.expect("no exit has an error");
        left.reverse();
        let in_order: Vec<usize> = released.into_iter().chain(left).collect();
        assert_eq!(*exited.lock().expect("no one panics with it"), in_order);
    });
}

#[test]
fn entries_of_every_kind_exit_in_reverse_order() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let inside = ledger.clone();
        let result = ExitStack::<Fault>::scope(async |stack| {
            let first = stack
                .enter(generated(Script::new("first", &inside)))
                .await?;
            stack.keep(inside.on_drop("kept dropped"));
            let closing = inside.clone();
            let adopted = stack.adopt(1, async move |value: u8, outcome: &Outcome| {
                closing.note(format!("adopted {value}: {outcome:?}"));
                Ok(())
            });
            stack.defer(noting(&inside, "deferred", End::Ok));
            let last = stack
                .enter(ByHand::<()>::new(Script::new("last", &inside)))
                .await?;
            assert_eq!(
                (*first, *adopted, *last, stack.len()),
                ("first", 1, "last", 5)
            );
            inside.note("body");
            Ok(())
        });
        assert_eq!(result.await, Ok(()));
        assert_eq!(
            ledger.text(),
            "enter first, entered first, enter last, entered last, body, \
             exit last: completed, exited last, deferred: Completed, adopted 1: Completed, \
             kept dropped, exit first: completed, exited first"
        );
    });
}

#[test]
fn several_leases_are_usable_at_once_and_exit_gets_what_they_left() {
    #[async_context]
    async fn list(ledger: Ledger) -> Result<Vec<u8>, Fault> {
        let (list, _) = yield_!(vec![]);
        ledger.note(format!("{list:?}"));
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        let mut one = stack.enter(list(ledger.clone())).await.expect("it opens");
        let mut two = stack.enter(list(ledger.clone())).await.expect("it opens");
        one.push(1);
        two.push(2);
        one.extend(two.iter().copied().collect::<Vec<_>>());
        std::mem::swap(&mut *one, &mut *two);
        drop((one, two));
        assert_eq!(stack.exit(Ok(())).await, Ok(()));
        assert_eq!(ledger.text(), "[1, 2], [2]");
    });
}

#[test]
fn a_failing_enter_registers_nothing() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        let script = Script::new("c", &ledger).enter(End::Fail("closed"));
        let failed = stack.enter(generated(script)).await;
        assert_eq!(failed.err(), Some(Fault("closed")));
        assert!(stack.is_empty());
        assert_eq!(stack.exit(Ok(())).await, Ok(()));
        assert_eq!(ledger.text(), "enter c");
    });
}

#[test]
fn errors_of_other_types_are_converted() {
    #[derive(Debug, PartialEq)]
    struct Wide(Fault);

    impl From<Fault> for Wide {
        fn from(fault: Fault) -> Self {
            Self(fault)
        }
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Wide>::new();
        let script = Script::new("c", &ledger).exit(End::Fail("x"));
        drop(stack.enter(generated(script)).await);
        assert_eq!(stack.exit(Ok(())).await, Err(Wide(Fault("x"))));
    });
}

#[test]
fn all_exits_run_whatever_fails_and_every_error_is_kept_in_order() {
    everywhere(async |stage| {
        for body in [Ok(1), Err(Fault("body"))] {
            let ledger = Ledger::default();
            let fill = || {
                let stack = ExitStack::<Fault>::new();
                for (line, end) in [
                    ("first", End::Fail("x")),
                    ("second", End::Ok),
                    ("third", End::Fail("z")),
                ] {
                    stack.defer(noting(&ledger, line, end));
                }
                stack
            };

            let failure = fill().try_exit(body.clone()).await.expect_err("exits fail");
            assert_eq!(failure.value, body.clone().ok());
            let mut expected = vec!["z", "x"];
            if body.is_err() {
                expected.insert(0, "body");
            }
            assert_eq!(errors(&failure), expected);
            let name = failure.exits[0].context;
            assert!(name.contains("noting"), "{name}");
            let before = match &failure.body {
                Some(error) => format!("the body failed: {error}; and then "),
                None => String::new(),
            };
            let exits =
                format!("the exit of `{name}` failed: z; and then the exit of `{name}` failed: x");
            assert_eq!(failure.to_string(), before + &exits);
            assert_eq!(stage.reports(), []);

            let first = fill().exit(body).await.expect_err("exits fail");
            assert_eq!(first.0, expected[0]);
            let reported: Vec<_> = stage
                .reports()
                .into_iter()
                .map(|(_, about)| about)
                .collect();
            let rest: Vec<_> = expected[1..]
                .iter()
                .map(|e| format!("Fault({e:?})"))
                .collect();
            assert_eq!(reported, rest, "the others are reported");
            assert_eq!(ledger.count("first"), 2);
        }
    });
}

#[test]
fn outer_exits_see_the_failure_of_an_inner_one() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        stack.defer(noting(&ledger, "outer", End::Ok));
        stack.defer(noting(&ledger, "inner", End::Fail("x")));
        assert_eq!(stack.exit(Ok(())).await, Err(Fault("x")));
        assert_eq!(
            ledger.text(),
            "inner: Completed, outer: Failed(Fault(\"x\"))"
        );
    });
}

#[test]
fn a_suppressing_entry_suppresses_the_body_s_error_or_an_inner_exit_s() {
    everywhere(async |_| {
        for body in [Ok(1), Err(Fault("body"))] {
            let ledger = Ledger::default();
            let stack = ExitStack::<Fault, _>::suppressing();
            stack.defer(noting(&ledger, "outer", End::Ok));
            let script = Script::new("c", &ledger).exit(End::Suppress);
            drop(stack.enter(generated_suppressing(script)).await);
            if body.is_ok() {
                stack.defer(noting(&ledger, "inner", End::Fail("x")));
            }
            assert_eq!(stack.exit(body).await, Ok(None));
            assert!(
                ledger.text().ends_with("outer: Completed"),
                "{}",
                ledger.text()
            );
        }
        // Nothing to suppress: the value is there.
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault, _>::suppressing();
        let script = Script::new("c", &ledger).exit(End::Suppress);
        drop(stack.enter(generated_suppressing(script)).await);
        assert_eq!(stack.exit(Ok(1)).await, Ok(Some(1)));
    });
}

#[test]
fn an_error_behind_a_suppressed_one_is_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault, _>::suppressing();
        let script = Script::new("c", &ledger).exit(End::Suppress);
        drop(stack.enter(generated_suppressing(script)).await);
        stack.defer(noting(&ledger, "inner", End::Fail("x")));
        assert_eq!(stack.exit::<()>(Err(Fault("body"))).await, Ok(None));
        assert_eq!(
            stage.reports(),
            [(Kind::ExitFailed, "Fault(\"x\")".to_owned())]
        );
    });
}

#[test]
fn all_exits_run_when_the_body_of_a_scope_panics() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let scope = ExitStack::<Fault>::scope(async |stack| {
            stack.defer(noting(&ledger, "first", End::Fail("x")));
            stack.defer(noting(&ledger, "second", End::Panic("q")));
            End::Panic("p").come().map(|_| ())
        });
        let payload = AssertUnwindSafe(scope)
            .catch_unwind()
            .await
            .expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"p"));
        assert_eq!(
            ledger.count("first: Panicked(BodyPanic(\"p\"))"),
            1,
            "{}",
            ledger.text()
        );
        let mut reports = stage.reports();
        reports.sort_by_key(|(_, about)| about.len());
        assert_eq!(
            reports,
            [
                (Kind::Panicked, "q".to_owned()),
                (Kind::ExitFailed, "Fault(\"x\")".to_owned())
            ]
        );
    });
}

#[test]
fn all_exits_run_when_an_exit_panics_and_its_panic_goes_on() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        stack.defer(noting(&ledger, "first", End::Ok));
        stack.defer(noting(&ledger, "second", End::Panic("q")));
        stack.defer(noting(&ledger, "third", End::Fail("z")));
        let exit = AssertUnwindSafe(stack.exit::<()>(Err(Fault("b")))).catch_unwind();
        let payload = exit.await.expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"q"));
        assert!(ledger.text().ends_with("first: Panicked(BodyPanic(\"q\"))"));
        let mut reports = stage.reports();
        reports.sort_by_key(|(_, about)| about.clone());
        assert_eq!(
            reports,
            [
                (Kind::BodyFailed, "Fault(\"b\")".to_owned()),
                (Kind::ExitFailed, "Fault(\"z\")".to_owned())
            ]
        );
    });
}

#[test]
fn a_lease_that_is_released_exits_now_and_not_again() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        let enter = async |name| stack.enter(generated(Script::new(name, &ledger))).await;
        let first = enter("first").await.expect("it opens");
        let second = enter("second").await.expect("it opens");
        assert_eq!(first.release().await, Ok(()));
        assert!(
            ledger
                .text()
                .ends_with("exit first: completed, exited first")
        );
        assert_eq!((*second, stack.len()), ("second", 1));
        drop(second);
        assert_eq!(stack.exit(Ok(())).await, Ok(()));
        assert_eq!(ledger.count("exit first"), 1);
        assert_eq!(ledger.count("exit second"), 1);
    });
}

#[test]
fn a_release_that_is_dropped_goes_on_and_its_error_is_returned_or_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        let script = || Script::new("c", &ledger).exit(End::Fail("x"));
        let lease = stack.enter(generated(script())).await.expect("it opens");
        assert_eq!(lease.release().await, Err(Fault("x")));
        assert_eq!(stage.reports(), []);
        let lease = stack.enter(generated(script())).await.expect("it opens");
        drop(lease.release());
        detached::drain().await;
        assert_eq!(
            stage.reports(),
            [(Kind::ExitFailed, "Fault(\"x\")".to_owned())]
        );
        assert!(stack.is_empty());
    });
}

#[test]
fn a_forgotten_lease_is_reported_and_the_other_entries_exit() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        for name in ["first", "forgotten", "last"] {
            let lease = stack.enter(generated(Script::new(name, &ledger))).await;
            if name == "forgotten" {
                std::mem::forget(lease);
            }
        }
        assert_eq!(stack.exit(Ok(())).await, Ok(()));
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
        assert!(ledger.has("exited first") && ledger.has("exited last"));
        assert_eq!(ledger.count("exit forgotten"), 0);
    });
}

#[test]
fn take_moves_all_entries_and_runs_nothing() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut stack = ExitStack::<Fault>::new();
        stack.defer(noting(&ledger, "first", End::Ok));
        stack.defer(noting(&ledger, "second", End::Ok));
        let taken = stack.take();
        assert_eq!((stack.len(), taken.len()), (0, 2));
        assert_eq!((stack.is_empty(), taken.is_empty()), (true, false));
        stack.defer(noting(&ledger, "third", End::Ok));
        assert_eq!(stack.exit(Ok(())).await, Ok(()));
        assert_eq!(ledger.text(), "third: Completed");
        assert_eq!(taken.exit(Ok(())).await, Ok(()));
        assert_eq!(
            ledger.text(),
            "third: Completed, second: Completed, first: Completed"
        );
    });
}

#[test]
fn extend_puts_the_entries_of_another_stack_on_top() {
    everywhere(async |_| {
        for other_is_older in [false, true] {
            let ledger = Ledger::default();
            let (mut stack, mut other) = (ExitStack::<Fault>::new(), ExitStack::new());
            if other_is_older {
                std::mem::swap(&mut stack, &mut other);
            }
            stack.defer(noting(&ledger, "1", End::Ok));
            other.defer(noting(&ledger, "2", End::Ok));
            other.defer(noting(&ledger, "3", End::Ok));
            stack.extend(other);
            stack.defer(noting(&ledger, "4", End::Ok));
            assert_eq!((stack.len(), detached::count()), (4, 0));
            assert_eq!(stack.exit(Ok(())).await, Ok(()));
            assert_eq!(
                ledger.text(),
                "4: Completed, 3: Completed, 2: Completed, 1: Completed"
            );
        }
    });
}

#[test]
fn dropped_the_entries_exit_in_the_background_in_the_same_order() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        stack.defer(noting(&ledger, "first", End::Fail("x")));
        drop(stack.enter(generated(Script::new("second", &ledger))).await);
        stack.defer(noting(&ledger, "third", End::Panic("q")));
        drop(stack);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter second, entered second, third: Cancelled, exit second: cancelled, \
             exited second, first: Cancelled"
        );
        assert_eq!(
            stage.reports(),
            [
                (Kind::Panicked, "q".to_owned()),
                (Kind::ExitFailed, "Fault(\"x\")".to_owned())
            ]
        );
    });
}

async fn program(ledger: Ledger, body: End) -> Result<(), Fault> {
    let script = |name| Script::new(name, &ledger);
    generated(script("around"))
        .with(async |_| {
            ExitStack::scope(async |stack| {
                let first = stack.enter(generated(script("first"))).await?;
                let second = stack.enter(ByHand::<()>::new(script("second"))).await?;
                let inner = generated(script("inner")).guard().await?;
                pause(1).await;
                Guard::exit(inner, Ok(())).await?;
                second.release().await?;
                let third = stack.enter(generated(script("third"))).await?;
                assert_eq!((*first, *third), ("first", "third"));
                body.come().map(|_| ())
            })
            .await
        })
        .await
}

#[test]
fn dropped_at_every_poll_all_that_was_entered_on_a_stack_is_exited_once_in_order() {
    everywhere(async |stage| {
        for body in [End::Ok, End::Fail("b")] {
            cancel_at_every_poll(
                stage,
                async |ledger| program(ledger, body).await,
                |_, ended, ledger| {
                    ledger.check_nesting();
                    assert_eq!(ledger.count("entered"), ledger.count("exited"));
                    if let Some(result) = ended {
                        assert_eq!(result, body.come().map(|_| ()));
                        assert_eq!(ledger.count("exited"), 5);
                    }
                    let _ = stage.reports();
                },
            )
            .await;
        }
    });
}

#[test]
fn a_stack_held_in_a_function_exits_before_what_was_entered_before_it() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let script = |name| Script::new(name, &ledger);
        let function = async {
            let _before = generated(script("before")).guard().await?;
            let stack = ExitStack::new();
            drop(stack.enter(generated(script("on it"))).await?);
            let _after = generated(script("after")).guard().await?;
            std::future::pending::<Result<(), Fault>>().await
        };
        assert_eq!(poll_times(function, 12).await, None);
        detached::drain().await;
        ledger.check_nesting();
        assert_eq!(ledger.count("exited"), 3);
    });
}

#[test]
fn a_stack_of_fifty_thousand_entries_exits_and_drops_without_a_deep_call_stack() {
    /// On a thread with little of it.
    fn on_a_small_stack(test: fn()) {
        let thread = std::thread::Builder::new().stack_size(256 * 1024);
        let ended = thread.spawn(test).expect("the system has a thread for us");
        ended.join().expect("the test passes");
    }

    fn fill(count: &Arc<()>) -> ExitStack<Fault> {
        let stack = ExitStack::new();
        for _ in 0..50_000 {
            let count = count.clone();
            stack.defer(async move |_: &Outcome| {
                drop(count);
                Ok(())
            });
        }
        stack
    }

    let _stage = tests::Stage::alone();
    on_a_small_stack(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime
            .expect("the system has a runtime for us")
            .block_on(async {
                let count = Arc::new(());
                let stack = fill(&count);
                assert_eq!((stack.len(), Arc::strong_count(&count)), (50_000, 50_001));
                assert_eq!(stack.exit(Ok(())).await, Ok(()));
                assert_eq!(Arc::strong_count(&count), 1);
                drop(fill(&count));
                detached::drain().await;
                assert_eq!(Arc::strong_count(&count), 1);
            });
    });
}

#[test]
fn stacks_and_their_futures_are_send_and_sync() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    fn both<T: Send + Sync>() {}

    both::<ExitStack<Fault>>();
    both::<async_context_manager::Lease<'static, String, Fault>>();
    let ledger = Ledger::default();
    drop(send(async move {
        let stack = ExitStack::<Fault>::new();
        let lease = stack.enter(generated(Script::new("c", &ledger))).await?;
        pause(1).await;
        drop(lease);
        stack.exit(Ok(())).await
    }));
}
