//! Contexts made of several: one or none, one or another, in order, at the same time.

use std::collections::BTreeSet;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{
    Either,
    contexts::{defer, join, join_all, suppress, tasks},
    detached,
    prelude::*,
};
use futures::FutureExt;
use tests::{
    ByHand, End, Fault, Ledger, Script, cancel_at_every_poll, everywhere, generated, pause,
    poll_times,
};
use tokio::sync::Barrier;

fn by_hand(script: Script) -> ByHand<()> {
    ByHand::new(script)
}

/// Each that was entered has exited once, and the one around them all after them.
fn check_siblings(ledger: &Ledger) {
    let lines = ledger.lines();
    let names = |start| {
        let names: Vec<_> = lines
            .iter()
            .filter_map(|line| line.strip_prefix(start))
            .collect();
        let set: BTreeSet<_> = names.iter().copied().collect();
        assert_eq!(names.len(), set.len(), "one twice: {lines:?}");
        set
    };
    assert_eq!(names("entered "), names("exited "), "{lines:?}");
    let exits = lines
        .iter()
        .filter(|line| line.starts_with("exit "))
        .count();
    assert_eq!(exits, names("exited ").len(), "{lines:?}");
    if let Some(outer) = lines.iter().position(|line| line.starts_with("exit outer")) {
        let late = |line: &String| line.starts_with("exit") && !line.ends_with("outer");
        assert!(!lines[outer + 1..].iter().any(late), "{lines:?}");
    }
}

fn kinds(reports: Vec<(Kind, String)>) -> Vec<(Kind, String)> {
    reports
        .into_iter()
        .map(|(kind, about)| (kind, about.replace("Fault(\"", "").replace("\")", "")))
        .collect()
}

#[test]
fn none_opens_and_closes_nothing_and_some_is_its_context() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = || Some(generated(Script::new("c", &ledger)));
        let nothing = make().filter(|_| false);
        assert_eq!(nothing.with(async |value| Ok(*value)).await, Ok(None));
        assert_eq!(ledger.text(), "");
        assert_eq!(make().with(async |value| Ok(*value)).await, Ok(Some("c")));
        assert_eq!(
            ledger.text(),
            "enter c, entered c, exit c: completed, exited c"
        );
        let failed = Some(by_hand(Script::new("d", &ledger).enter(End::Fail("e"))));
        assert_eq!(failed.with(async |_| Ok(())).await, Err(Fault("e")));
        let failed = make().with(async |_| Err::<(), _>(Fault("b"))).await;
        assert_eq!(failed, Err(Fault("b")));
        assert!(ledger.has("exit c: failed(Fault(\"b\"))"));
    });
}

#[test]
fn a_suppressing_context_that_may_not_be_there_suppresses_when_it_is() {
    everywhere(async |_| {
        for (context, expected) in [
            (Some(suppress::<Fault>()), Ok(None)),
            (None, Err(Fault("b"))),
        ] {
            assert_eq!(
                context.with(async |_| Err::<(), _>(Fault("b"))).await,
                expected
            );
        }
    });
}

#[test]
fn a_value_that_the_body_takes_away_leaves_its_context_not_run() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let taken = Some(make("a")).with(async |value| Ok(value.take())).await;
        assert_eq!(taken, Ok(Some("a")));
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
        let popped = vec![make("b"), make("c")]
            .with(async |values| Ok(values.pop()))
            .await;
        assert_eq!(popped, Ok(Some("c")));
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
        let popped = join_all([make("d"), make("e")])
            .with(async |values| Ok(values.pop()))
            .await;
        assert_eq!(popped, Ok(Some("e")));
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
        assert_eq!(ledger.count("exited"), 2, "{}", ledger.text());
    });
}

#[test]
fn a_cancellable_await_inside_of_some_is_given_up_with_the_caller() {
    #[async_context]
    async fn waiting() -> Result<(), Fault> {
        cancellable!(pending::<()>()).await;
        pause(1).await;
        let ((), _) = yield_!(());
        Ok(())
    }

    everywhere(async |_| {
        assert_eq!(
            poll_times(Some(waiting()).with(async |_| Ok(())), 3).await,
            None
        );
        let all = vec![waiting(), waiting()].with(async |_| Ok(()));
        assert_eq!(poll_times(all, 3).await, None);
        let all = join((waiting(), waiting())).with(async |_| Ok(()));
        assert_eq!(poll_times(all, 3).await, None);
        assert_eq!(detached::count(), 0);
    });
}

#[test]
fn either_is_the_one_or_the_other() {
    everywhere(async |_| {
        for is_left in [true, false] {
            let ledger = Ledger::default();
            let context = if is_left {
                Either::Left(generated(Script::new("c", &ledger)))
            } else {
                Either::Right(by_hand(Script::new("c", &ledger)))
            };
            assert_eq!(context.with(async |value| Ok(*value)).await, Ok("c"));
            assert_eq!(
                ledger.text(),
                "enter c, entered c, exit c: completed, exited c"
            );
        }
    });
}

#[test]
fn a_vec_and_an_array_enter_in_order_and_exit_in_reverse() {
    everywhere(async |_| {
        let expected = "enter a, entered a, enter b, entered b, body, \
                        exit b: completed, exited b, exit a: completed, exited a";
        let ledger = Ledger::default();
        let all = vec![
            generated(Script::new("a", &ledger)),
            generated(Script::new("b", &ledger)),
        ];
        let result = all.with(async |values| {
            ledger.note("body");
            Ok(values.concat())
        });
        assert_eq!(result.await, Ok("ab".to_owned()));
        assert_eq!(ledger.text(), expected);

        let ledger = Ledger::default();
        let all = ["a", "b"].map(|name| by_hand(Script::new(name, &ledger)));
        let result = all.with(async |[a, b]| {
            ledger.note("body");
            Ok(format!("{a}{b}"))
        });
        assert_eq!(result.await, Ok("ab".to_owned()));
        assert_eq!(ledger.text(), expected);

        let none: Vec<ByHand<()>> = Vec::new();
        assert_eq!(none.with(async |values| Ok(values.len())).await, Ok(0));
    });
}

#[test]
fn when_one_of_a_vec_fails_to_enter_those_before_it_exit_in_reverse_and_see_it() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let fails = generated(Script::new("c", &ledger).enter(End::Fail("e")));
        let all = vec![make("a"), make("b"), fails, make("d")];
        assert_eq!(all.with(async |_| Ok(())).await, Err(Fault("e")));
        assert_eq!(
            ledger.text(),
            "enter a, entered a, enter b, entered b, enter c, \
             exit b: failed(Fault(\"e\")), exited b, exit a: failed(Fault(\"e\")), exited a"
        );
    });
}

#[test]
fn exits_of_a_vec_see_what_nested_contexts_see_and_all_errors_are_kept() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let make = |name, end| generated(Script::new(name, &ledger).exit(end));
        let all = || {
            vec![
                make("a", End::Fail("xa")),
                make("b", End::Ok),
                make("c", End::Fail("xc")),
            ]
        };
        assert_eq!(all().with(async |_| Ok(())).await, Err(Fault("xc")));
        assert_eq!(
            kinds(stage.reports()),
            [(Kind::ExitFailed, "xa".to_owned())]
        );
        assert!(ledger.has("exit c: completed"));
        assert!(ledger.has("exit b: failed(Fault(\"xc\"))"));
        assert!(ledger.has("exit a: failed(Fault(\"xc\"))"));

        let ended = all().try_with(async |_| Err::<(), _>(Fault("b"))).await;
        let (body, exit) = (Fault("b"), Fault("xc"));
        assert_eq!(ended, Err(Failure::BodyAndExit { body, exit }));
        assert_eq!(
            kinds(stage.reports()),
            [(Kind::ExitFailed, "xa".to_owned())]
        );

        let panics = vec![make("a", End::Fail("xa")), make("b", End::Panic("p"))];
        let ended = AssertUnwindSafe(panics.with(async |_| Ok(())))
            .catch_unwind()
            .await;
        assert_eq!(ended.expect_err("it panics").downcast_ref(), Some(&"p"));
        assert!(ledger.has("exit a: panicked(p)"));
        assert_eq!(
            kinds(stage.reports()),
            [(Kind::ExitFailed, "xa".to_owned())]
        );
    });
}

#[test]
fn dropped_at_every_poll_a_vec_and_an_array_keep_their_order_and_enter_no_more() {
    everywhere(async |stage| {
        for is_array in [false, true] {
            cancel_at_every_poll(
                stage,
                async |ledger| {
                    let all = ["a", "b", "c"].map(|name| by_hand(Script::new(name, &ledger)));
                    if is_array {
                        all.with(async |_| Ok(pause(2).await)).await
                    } else {
                        Vec::from(all).with(async |_| Ok(pause(2).await)).await
                    }
                },
                |polls, ended, ledger| {
                    ledger.check_nesting();
                    assert!(ended.is_none_or(|result| result.is_ok()));
                    // Two polls an enter: the next one begins in the poll that ends the one before.
                    let begun = polls.div_ceil(2).min(3);
                    assert_eq!(ledger.count("enter "), begun, "no more than had begun");
                },
            )
            .await;
        }
    });
}

#[test]
fn contexts_of_several_work_when_enter_and_exit_are_called_by_hand() {
    /// Calls `enter` and `exit` of what it wraps.
    struct Wrapped<C>(C);

    impl<C: AsyncContext> AsyncContext for Wrapped<C> {
        type Value = C::Value;
        type Error = C::Error;
        type Verdict = C::Verdict;

        async fn enter(&mut self) -> Result<C::Value, C::Error> {
            self.0.enter().await
        }

        async fn exit(self, value: C::Value, outcome: &Outcome) -> Result<C::Verdict, C::Error> {
            self.0.exit(value, outcome).await
        }
    }

    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger| {
                let make = |name| generated(Script::new(name, &ledger));
                let (some, none) = (
                    Wrapped(Some(make("some"))),
                    Wrapped(Some(make("none")).filter(|_| false)),
                );
                let list = Wrapped(vec![make("a"), make("b")]);
                let either: Either<_, ByHand<()>> = Either::Left(make("either"));
                let either = Wrapped(either);
                async_with!(some = some, none = none, list = list, either = either => {
                    pause(1).await;
                    Ok::<_, Fault>((*some, *none, list.concat(), *either))
                })
            },
            |_, ended, ledger| {
                ledger.check_nesting();
                let lent = (Some("some"), None, "ab".to_owned(), "either");
                assert!(ended.is_none_or(|ended| ended == Ok(lent)));
            },
        )
        .await;

        cancel_at_every_poll(
            stage,
            async |ledger| {
                let make = |name| generated(Script::new(name, &ledger));
                let joined = Wrapped(join((make("a"), make("b"))));
                let all = Wrapped(join_all([make("c"), make("d")]).limit(1));
                async_with!(joined = joined, all = all => {
                    pause(1).await;
                    Ok::<_, Fault>((*joined, all.concat()))
                })
            },
            |_, ended, ledger| {
                check_siblings(ledger);
                let lent = (("a", "b"), "cd".to_owned());
                assert!(ended.is_none_or(|ended| ended == Ok(lent)));
            },
        )
        .await;

        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let fails = generated(Script::new("c", &ledger).enter(End::Fail("e")));
        let all = Wrapped(vec![make("a"), make("b"), fails]);
        assert_eq!(all.with(async |_| Ok(())).await, Err(Fault("e")));
        ledger.check_nesting();
        assert!(ledger.has("exit a: failed(Fault(\"e\"))"));
    });
}

#[test]
fn an_array_entered_by_hand_panics_before_anything_has_begun() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut all = [generated(Script::new("a", &ledger))];
        let entered = AssertUnwindSafe(all.enter()).catch_unwind().await;
        assert!(entered.is_err());
        assert_eq!(ledger.text(), "");
    });
}

#[test]
fn an_array_whose_contexts_were_entered_by_hand_exits_in_reverse() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut all = ["a", "b"].map(|name| by_hand(Script::new(name, &ledger)));
        let [a, b] = &mut all;
        let values = [
            a.enter().await.expect("it enters"),
            b.enter().await.expect("it enters"),
        ];
        assert_eq!(all.exit(values, &Outcome::Completed).await, Ok(()));
        ledger.check_nesting();
        assert_eq!(ledger.count("exited"), 2);
    });
}

#[test]
fn join_enters_and_exits_at_the_same_time() {
    #[async_context]
    async fn meeting(barrier: Arc<Barrier>, number: u8) -> Result<u8, Fault> {
        barrier.wait().await;
        let (_, _) = yield_!(number);
        barrier.wait().await;
        Ok(())
    }

    everywhere(async |_| {
        // None of them comes to its end without the others.
        let of = |count| {
            let barrier = Arc::new(Barrier::new(count));
            move |number| meeting(barrier.clone(), number)
        };
        let meet = of(3);
        let three = join((meet(1), meet(2), meet(3)));
        assert_eq!(
            three.with(async |(a, b, c)| Ok((*a, *b, *c))).await,
            Ok((1, 2, 3))
        );

        let meet = of(8);
        let eight = join((
            meet(1),
            meet(2),
            meet(3),
            meet(4),
            meet(5),
            meet(6),
            meet(7),
            meet(8),
        ));
        let last = eight.with(async |(.., last)| Ok(*last)).await;
        assert_eq!(last, Ok(8));

        let array = join([1, 2].map(of(2)));
        assert_eq!(array.with(async |values| Ok(*values)).await, Ok([1, 2]));

        let all = join_all((0..100).map(of(100)));
        assert_eq!(all.with(async |values| Ok(values.len())).await, Ok(100));
        let none = join_all(Vec::<ByHand<()>>::new());
        assert_eq!(none.with(async |values| Ok(values.len())).await, Ok(0));
    });
}

#[test]
fn inside_each_side_of_a_join_the_order_is_reverse() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let side = |names: [&'static str; 2]| names.map(|name| by_hand(Script::new(name, &ledger)));
        let both = join((side(["a1", "a2"]), side(["b1", "b2"])));
        assert_eq!(both.with(async |_| Ok(())).await, Ok(()));
        let lines = ledger.lines();
        let at = |line: &str| {
            lines
                .iter()
                .position(|known| known == line)
                .expect("it is there")
        };
        for side in ["a", "b"] {
            assert!(at(&format!("entered {side}1")) < at(&format!("enter {side}2")));
            assert!(at(&format!("exited {side}2")) < at(&format!("exit {side}1: completed")));
        }
        assert!(
            at("enter b1") < at("entered a1"),
            "at the same time: {lines:?}"
        );
        assert!(
            at("exit b2: completed") < at("exited a2"),
            "at the same time: {lines:?}"
        );
    });
}

#[test]
fn when_one_side_fails_to_enter_the_others_are_ended_and_exited_with_that_failure() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let make = |name| by_hand(Script::new(name, &ledger));
        let fails = |name, end| generated(Script::new(name, &ledger).enter(end));
        // `c` enters for longer than `b`, and ends.
        let slow = vec![make("c"), make("d")];
        let all = join((make("a"), fails("b", End::Fail("e")), slow));
        assert_eq!(all.with(async |_| Ok(())).await, Err(Fault("e")));
        check_siblings(&ledger);
        for name in ["a", "c", "d"] {
            assert!(
                ledger.has(&format!("exit {name}: failed(Fault(\"e\"))")),
                "{}",
                ledger.text()
            );
        }
        assert_eq!(ledger.count("exit b"), 0);

        let all = join([
            fails("f", End::Fail("first")),
            fails("g", End::Fail("second")),
        ]);
        assert_eq!(all.with(async |_| Ok(())).await, Err(Fault("first")));
        assert_eq!(
            kinds(stage.reports()),
            [(Kind::EnterFailed, "second".to_owned())]
        );

        let exit_fails = generated(Script::new("h", &ledger).exit(End::Fail("x")));
        let all = join((exit_fails, fails("i", End::Fail("e"))));
        assert_eq!(all.with(async |_| Ok(())).await, Err(Fault("e")));
        assert_eq!(kinds(stage.reports()), [(Kind::ExitFailed, "x".to_owned())]);
    });
}

async fn message_of(panics: impl Future<Output: std::fmt::Debug>) -> &'static str {
    let ended = AssertUnwindSafe(panics).catch_unwind().await;
    *ended.expect_err("it panics").downcast().expect("a message")
}

#[test]
fn panics_in_a_join_wait_for_the_others_and_go_on() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let make = |script: Script| generated(script);
        let script = |name| Script::new(name, &ledger);
        let all = join([
            make(script("a")),
            make(script("b").enter(End::Panic("p"))),
            make(script("c").enter(End::Fail("e"))),
        ]);
        assert_eq!(message_of(all.with(async |_| Ok(()))).await, "p");
        assert!(ledger.has("exit a: panicked(p)"), "{}", ledger.text());
        assert_eq!(
            kinds(stage.reports()),
            [(Kind::EnterFailed, "e".to_owned())]
        );

        let ledger_text = ledger.text();
        let all = join([
            make(script("d").exit(End::Panic("p"))),
            make(script("e").exit(End::Panic("q"))),
            make(script("f").exit(End::Fail("x"))),
        ]);
        assert_eq!(message_of(all.with(async |_| Ok(()))).await, "p");
        assert_eq!(ledger.count("exited"), 4, "after {ledger_text}");
        assert_eq!(
            kinds(stage.reports()),
            [
                (Kind::Panicked, "q".to_owned()),
                (Kind::ExitFailed, "x".to_owned())
            ]
        );

        // An enter that fails, and an exit because of it that panics: as if nested.
        let all = join([
            make(script("g").exit(End::Panic("p"))),
            make(script("h").enter(End::Fail("e"))),
        ]);
        assert_eq!(message_of(all.with(async |_| Ok(()))).await, "p");
        assert_eq!(
            kinds(stage.reports()),
            [(Kind::EnterFailed, "e".to_owned())]
        );
    });
}

#[test]
fn of_the_errors_of_joined_exits_the_first_argument_s_comes_back_and_all_others_are_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let make = |name, exit| by_hand(Script::new(name, &ledger).exit(exit));
        let all = || {
            // The first one ends last.
            let slow = vec![make("a", End::Fail("xa")), make("b", End::Ok)];
            join((slow, make("c", End::Fail("xc")), make("d", End::Fail("xd"))))
        };
        assert_eq!(all().with(async |_| Ok(())).await, Err(Fault("xa")));
        let rest = [
            (Kind::ExitFailed, "xc".to_owned()),
            (Kind::ExitFailed, "xd".to_owned()),
        ];
        assert_eq!(kinds(stage.reports()), rest);
        assert!(
            ledger.has("exit d: completed"),
            "each sees the same outcome"
        );

        let ended = all().try_with(async |_| Err::<(), _>(Fault("b"))).await;
        let (body, exit) = (Fault("b"), Fault("xa"));
        assert_eq!(ended, Err(Failure::BodyAndExit { body, exit }));
        assert_eq!(kinds(stage.reports()), rest);
        for name in ["a", "b", "c", "d"] {
            assert!(ledger.has(&format!("exit {name}: failed(Fault(\"b\"))")));
        }
    });
}

#[test]
fn join_all_with_a_limit_has_no_more_under_way_at_once() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let names = ["a", "b", "c", "d", "e"];
        let all = join_all(names.map(|name| generated(Script::new(name, &ledger))));
        let result = all.limit(2).with(async |values| Ok(values.concat())).await;
        assert_eq!(result, Ok("abcde".to_owned()));
        let mut under_way = 0_i32;
        let mut most = 0;
        for line in ledger.lines() {
            under_way += match line.split(' ').next() {
                Some("enter" | "exit") => 1,
                _ => -1,
            };
            most = most.max(under_way);
        }
        assert_eq!((most, under_way), (2, 0), "{}", ledger.text());

        let ledger = Ledger::default();
        let make = |name, end| generated(Script::new(name, &ledger).enter(end));
        let all = [
            make("a", End::Ok),
            make("b", End::Fail("e")),
            make("c", End::Ok),
        ];
        let failed = join_all(all).limit(0).with(async |_| Ok(())).await;
        assert_eq!(failed, Err(Fault("e")));
        assert!(!ledger.has("enter c"), "none begins after a failure");
        assert!(ledger.has("exited a"));
    });
}

#[test]
fn dropped_at_every_poll_each_that_was_entered_in_a_join_is_exited_once() {
    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger| {
                let make = |name| generated(Script::new(name, &ledger));
                let side = ["a", "b"].map(|name| by_hand(Script::new(name, &ledger)));
                let joined = join((make("c"), side, make("d")));
                make("outer")
                    .with(async |_| joined.with(async |_| Ok(pause(2).await)).await)
                    .await
            },
            |_, ended, ledger| {
                check_siblings(ledger);
                assert!(ended.is_none_or(|result| result.is_ok()));
            },
        )
        .await;
    });
}

#[test]
fn dropped_at_every_poll_join_all_enters_no_more_and_exits_what_it_has() {
    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger| {
                let names = ["a", "b", "c", "d", "e"];
                let all = join_all(names.map(|name| generated(Script::new(name, &ledger))));
                let outer = by_hand(Script::new("outer", &ledger));
                outer
                    .with(async |_| {
                        all.limit(2).with(async |_| Ok(pause(1).await)).await?;
                        Ok(())
                    })
                    .await
            },
            |polls, ended, ledger| {
                check_siblings(ledger);
                assert!(ended.is_none_or(|result| result.is_ok()));
                // Two polls an enter: the outer one, and then two at a time.
                let begun = (2 * polls.div_ceil(2)).saturating_sub(1).min(6);
                assert_eq!(ledger.count("enter "), begun, "no more than had begun");
            },
        )
        .await;
    });
}

#[test]
fn a_join_that_fails_to_enter_dropped_at_every_poll_loses_nothing() {
    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger: Ledger| {
                let make = |name| generated(Script::new(name, &ledger));
                let fails = |name| {
                    let ledger = ledger.clone();
                    let script = Script::new(name, &ledger).enter(End::Fail(name));
                    generated(script).map_err(move |fault| {
                        ledger.note("failed");
                        fault
                    })
                };
                let slow = vec![make("a"), make("b")];
                join((slow, fails("e"), make("c"), fails("f")))
                    .with(async |_| Ok(()))
                    .await
            },
            |_, ended, ledger| {
                check_siblings(ledger);
                let returned = usize::from(ended.is_some());
                let reported = stage.reports().len();
                assert_eq!(
                    returned + reported,
                    ledger.count("failed"),
                    "{}",
                    ledger.text()
                );
            },
        )
        .await;
    });
}

/// A context that wakes itself must not keep the others, or the executor, from their turn.
#[test]
fn a_member_that_is_always_ready_to_be_polled_lets_others_go_on() {
    everywhere(async |_| {
        let (done, wait) = tokio::sync::oneshot::channel();
        let spins = defer(async move |_: &Outcome| {
            let mut wait = wait;
            while wait.try_recv().is_err() {
                pause(1).await;
            }
            Ok::<_, Fault>(())
        });
        let sends = defer(async move |_: &Outcome| {
            tokio::task::yield_now().await;
            done.send(()).map_err(|()| Fault("nobody waits"))
        });
        assert_eq!(join((spins, sends)).with(async |_| Ok(())).await, Ok(()));
    });
}

#[test]
fn the_futures_of_contexts_made_of_several_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }

    let ledger = Ledger::default();
    let make = || generated(Script::new("c", &ledger));
    drop(send(Some(make()).with(async |_| Ok(()))));
    drop(send(vec![make()].with(async |_| Ok(()))));
    drop(send([make(), make()].with(async |_| Ok(()))));
    drop(send(join((make(), vec![make()])).with(async |_| Ok(()))));
    drop(send(join_all([make()]).limit(2).with(async |_| Ok(()))));
    drop(send(
        make()
            .enter_timeout(Duration::MAX)
            .exit_timeout(Duration::MAX)
            .guard(),
    ));
    drop(send(tasks::<Fault>().with(async |tasks| {
        tasks.spawn(async { Ok(()) });
        pause(1).await;
        Ok(())
    })));
}
