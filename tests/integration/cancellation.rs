//! Futures that are dropped: before, in, and after each part of a context.

use std::future::{Future, pending};

use async_context_manager::{detached, prelude::*};
use futures::future::FusedFuture;
use futures::{FutureExt, pin_mut};
use tests::{
    ByHand, End, Fault, Ledger, Script, cancel_at_every_poll, everywhere, generated,
    on_current_thread, pause, poll_times,
};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Duration, timeout};

#[test]
fn dropped_before_the_first_poll_nothing_runs() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let future = generated(Script::new("c", &ledger)).with(async |_| Ok(()));
        assert_eq!(poll_times(future, 0).await, None);
        detached::drain().await;
        assert_eq!(ledger.text(), "");
    });
}

#[test]
fn dropped_in_enter_enter_ends_and_exit_follows_once_with_cancelled() {
    everywhere(async |_| {
        for context in [
            |script| generated(script).boxed(),
            |script| ByHand::<()>::new(script).boxed(),
        ] {
            let ledger = Ledger::default();
            let make = |name| context(Script::new(name, &ledger));
            let nested = make("outer").with(async |_| make("inner").with(async |_| Ok(())).await);
            assert_eq!(poll_times(nested, 4).await, None);
            detached::drain().await;
            assert_eq!(
                ledger.text(),
                "enter outer, entered outer, enter inner, entered inner, exit inner: cancelled, \
                 exited inner, exit outer: cancelled, exited outer"
            );
        }
    });
}

#[test]
fn dropped_in_a_cancellable_await_of_enter_the_generator_drops_there() {
    #[async_context]
    async fn waiting(ledger: Ledger, never: bool) -> Result<(), Fault> {
        let _local = ledger.on_drop("local dropped");
        ledger.note("enter");
        if never {
            cancellable!(pending::<()>()).await;
        }
        pause(2).await;
        ledger.note("entered");
        let ((), _) = yield_!(());
        ledger.note("exit");
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let nested = generated(Script::new("outer", &ledger)).with(async |_| {
            let waiting = waiting(ledger.clone(), true);
            waiting.with(async |()| Ok(())).await
        });
        assert_eq!(poll_times(nested, 6).await, None);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter outer, entered outer, enter, local dropped, exit outer: cancelled, exited outer"
        );

        // Only that await is marked: the next one is not given up.
        let ledger = Ledger::default();
        let future = waiting(ledger.clone(), false).with(async |()| Ok(()));
        assert_eq!(poll_times(future, 2).await, None);
        detached::drain().await;
        assert_eq!(ledger.text(), "enter, entered, exit, local dropped");
    });
}

#[test]
fn a_cancellable_opening_of_another_context_reaches_through_to_its_cancellable_await() {
    #[async_context]
    async fn inner(ledger: Ledger, is_marked: bool) -> Result<(), Fault> {
        if is_marked {
            cancellable!(pending::<()>()).await;
        } else {
            pause(2).await;
        }
        let ((), outcome) = yield_!(());
        ledger.note(format!("inner exits: {outcome:?}"));
        Ok(())
    }

    #[async_context]
    async fn outer(ledger: Ledger, is_marked: bool) -> Result<(), Fault> {
        let _dropped = ledger.on_drop("outer dropped");
        let inner = cancellable!(inner(ledger.clone(), is_marked).guard()).await?;
        let ((), outcome) = yield_!(());
        Guard::exit_as(inner, outcome).await
    }

    everywhere(async |_| {
        // Nothing is left in the background: the inner one waited in a queue.
        let ledger = Ledger::default();
        let using = outer(ledger.clone(), true).with(async |()| Ok(()));
        assert_eq!(poll_times(using, 1).await, None);
        assert_eq!(detached::count(), 0);
        assert_eq!(ledger.text(), "outer dropped");

        // The inner one was under way: it goes on, and exits.
        let ledger = Ledger::default();
        let using = outer(ledger.clone(), false).with(async |()| Ok(()));
        assert_eq!(poll_times(using, 1).await, None);
        detached::drain().await;
        // Another thread may run the inner one before the outer one has dropped everything.
        let notes = ["outer dropped", "inner exits: Cancelled"];
        assert_eq!(notes.map(|note| ledger.count(note)), [1, 1]);
    });
}

#[test]
fn a_cancellable_await_that_is_forgotten_keeps_no_share_in_the_error_of_the_body() {
    #[async_context]
    async fn forgetful() -> Result<(), Fault> {
        let mut waiting = Box::pin(cancellable!(pending::<()>()));
        assert!(waiting.as_mut().now_or_never().is_none());
        std::mem::forget(waiting);
        let ((), outcome) = yield_!(());
        assert!(outcome.is_failed());
        Ok(())
    }

    everywhere(async |_| {
        let result = forgetful()
            .with(async |()| Err::<(), _>(Fault("body")))
            .await;
        assert_eq!(result, Err(Fault("body")));
    });
}

#[test]
fn a_detached_enter_is_given_up_where_it_comes_to_a_cancellable_await() {
    #[async_context]
    async fn queued(ledger: Ledger) -> Result<(), Fault> {
        let _local = ledger.on_drop("local dropped");
        pause(2).await;
        cancellable!(pending::<()>()).await;
        let ((), _) = yield_!(());
        Ok(())
    }
    everywhere(async |_| {
        let ledger = Ledger::default();
        // In the pause, which may not be given up.
        let future = queued(ledger.clone()).with(async |()| Ok(()));
        assert_eq!(poll_times(future, 1).await, None);
        detached::drain().await;
        assert_eq!(ledger.text(), "local dropped");
    });
}

#[test]
fn a_cancellable_await_that_has_ended_marks_nothing() {
    #[async_context]
    async fn two_steps(ledger: Ledger) -> Result<(), Fault> {
        cancellable!(pause(1)).await;
        ledger.note("has it");
        pause(2).await;
        let ((), _) = yield_!(());
        ledger.note("exit");
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        assert!(
            poll_times(two_steps(ledger.clone()).guard(), 1)
                .await
                .is_none()
        );
        detached::drain().await;
        assert_eq!(ledger.text(), "", "given up while it waited");
        assert!(
            poll_times(two_steps(ledger.clone()).guard(), 2)
                .await
                .is_none()
        );
        detached::drain().await;
        assert_eq!(ledger.text(), "has it, exit", "not given up after");

        let ledger = Ledger::default();
        let in_some = Some(two_steps(ledger.clone())).guard();
        assert!(poll_times(in_some, 2).await.is_none());
        detached::drain().await;
        assert_eq!(ledger.text(), "has it, exit", "nor inside of another");
    });
}

#[test]
fn cancellable_enter_marks_the_whole_of_enter_and_nothing_more() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let context = || ByHand::<()>::new(Script::new("c", &ledger)).cancellable_enter();
        assert!(poll_times(context().guard(), 2).await.is_none());
        detached::drain().await;
        assert_eq!(ledger.text(), "enter c");

        let ledger = Ledger::default();
        let context = || ByHand::<()>::new(Script::new("c", &ledger)).cancellable_enter();
        let future = context().with(async |_| pending::<Result<(), Fault>>().await);
        assert_eq!(poll_times(future, 5).await, None);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter c, entered c, exit c: cancelled, exited c"
        );
    });
}

#[test]
fn dropped_in_the_body_its_locals_drop_first_and_then_exit_runs_once() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let held = ledger.on_drop("captured dropped");
        let future = generated(Script::new("c", &ledger)).with(async |_| {
            let _held = held;
            let _local = ledger.on_drop("local dropped");
            pending::<Result<(), Fault>>().await
        });
        assert_eq!(poll_times(future, 5).await, None);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter c, entered c, local dropped, captured dropped, exit c: cancelled, exited c"
        );
    });
}

#[test]
fn dropped_in_exit_it_is_neither_cut_short_nor_begun_again() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let future = generated(Script::new("c", &ledger)).with(async |_| Ok(()));
        assert_eq!(poll_times(future, 4).await, None);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter c, entered c, exit c: completed, exited c"
        );
    });
}

#[test]
fn the_future_of_a_guard_s_exit_keeps_the_true_outcome_when_it_is_dropped_unpolled() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let guard = generated(Script::new("c", &ledger))
            .guard()
            .await
            .expect("it opens");
        drop(Guard::exit(guard, Ok(())));
        detached::drain().await;
        assert!(
            ledger.text().ends_with("exit c: completed, exited c"),
            "{}",
            ledger.text()
        );
    });
}

/// Nested contexts, with a failure in the middle of the body, dropped after every number of polls.
async fn program<C>(ledger: Ledger, make: impl Fn(Script) -> C, body: End) -> Result<(), Fault>
where
    C: AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + 'static,
{
    let script = |name| Script::new(name, &ledger);
    make(script("first"))
        .with_local(async |_| {
            pause(1).await;
            make(script("aside")).with(async |_| Ok(())).await?;
            make(script("second"))
                .with_local(async |_| {
                    let third = make(script("third")).guard().await?;
                    pause(2).await;
                    let result = body.come().map(|_| ());
                    Guard::exit(third, result).await
                })
                .await
        })
        .await
}

fn check(expected: &Result<(), Fault>, ended: Option<Result<(), Fault>>, ledger: &Ledger) {
    ledger.check_nesting();
    assert_eq!(ledger.count("entered"), ledger.count("exited"));
    match ended {
        Some(result) => {
            assert_eq!(result, *expected);
            assert_eq!(ledger.count("exited"), 4);
            assert_eq!(ledger.count("exit first: cancelled"), 0);
        }
        None => assert!(ledger.count("entered") <= 4),
    }
}

#[test]
fn dropped_at_every_poll_each_generator_that_was_entered_is_exited_once_in_order() {
    everywhere(async |stage| {
        for body in [End::Ok, End::Fail("b")] {
            let expected = body.come().map(|_| ());
            cancel_at_every_poll(
                stage,
                async |ledger| program(ledger, generated, body).await,
                |_, ended, ledger| {
                    check(&expected, ended, ledger);
                    let _ = stage.reports();
                },
            )
            .await;
        }
    });
}

#[test]
fn dropped_at_every_poll_each_hand_written_context_that_was_entered_is_exited_once_in_order() {
    everywhere(async |stage| {
        for body in [End::Ok, End::Fail("b")] {
            let expected = body.come().map(|_| ());
            cancel_at_every_poll(
                stage,
                async |ledger| program(ledger, ByHand::<()>::new, body).await,
                |_, ended, ledger| {
                    check(&expected, ended, ledger);
                    let _ = stage.reports();
                },
            )
            .await;
        }
    });
}

#[test]
fn dropped_at_every_poll_a_context_around_a_context_exits_both() {
    /// A generator that holds another context, entered in its setup.
    #[async_context]
    async fn around(ledger: Ledger) -> Result<&'static str, Fault> {
        let inner = generated(Script::new("inner", &ledger)).guard().await?;
        ledger.note("entered around");
        let (_, _) = yield_!(*inner);
        ledger.note("exit around");
        pause(1).await;
        ledger.note("exited around");
        Guard::close(inner).await
    }

    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger| around(ledger).with(async |_| Ok(pause(2).await)).await,
            |_, ended, ledger| {
                ledger.check_nesting();
                assert_eq!(ledger.count("entered"), ledger.count("exited"));
                assert!(ended.is_none_or(|result| result == Ok(())));
                let (around, inner) = (
                    ledger.count("entered around"),
                    ledger.count("entered inner"),
                );
                assert_eq!(around, inner, "enter goes on once it has begun");
            },
        )
        .await;
    });
}

/// The real error is reported, once, whenever the caller does not get it; and never when it does.
#[test]
fn dropped_at_every_poll_an_error_is_returned_or_reported() {
    everywhere(async |stage| {
        cancel_at_every_poll(
            stage,
            async |ledger| -> Result<(), Fault> {
                let script = Script::new("c", &ledger);
                let body_ledger = ledger.clone();
                generated(script)
                    .with(async |_| {
                        pause(1).await;
                        body_ledger.note("failed");
                        Err(Fault("b"))
                    })
                    .await
            },
            |_, ended, ledger| {
                let reported = stage.reports().len();
                let returned = usize::from(ended.is_some());
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

#[test]
fn the_canceller_can_wait_for_the_clean_up() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let future = generated(Script::new("c", &ledger))
            .with(async |_| -> Result<(), Fault> { pending().await });
        assert!(timeout(Duration::from_secs(1), future).await.is_err());
        assert!(!ledger.has("exited c"));
        assert_eq!(detached::count(), 1);
        detached::drain().await;
        assert!(ledger.has("exited c"));
        assert_eq!(detached::count(), 0);
    });
}

#[test]
fn the_canceller_need_not_wait_and_the_clean_up_ends_in_the_background() {
    #[async_context]
    async fn session(goodbye: oneshot::Sender<&'static str>) -> Result<(), Fault> {
        let ((), outcome) = yield_!(());
        pause(3).await;
        let told = if outcome.is_cancelled() {
            "goodbye"
        } else {
            "?"
        };
        let _ = goodbye.send(told);
        Ok(())
    }

    everywhere(async |_| {
        let (goodbye, said) = oneshot::channel();
        let future = session(goodbye).with(async |()| pending::<Result<(), Fault>>().await);
        assert_eq!(poll_times(future, 3).await, None);
        assert_eq!(said.await, Ok("goodbye"));
    });
}

#[test]
fn dropping_a_future_that_has_completed_runs_nothing() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        {
            let future = generated(Script::new("c", &ledger))
                .with(async |_| Ok(()))
                .fuse();
            pin_mut!(future);
            assert_eq!(future.as_mut().await, Ok(()));
            assert!(future.is_terminated());
        }
        assert_eq!(detached::count(), 0);
        assert_eq!(ledger.count("exit c"), 1);
    });
}

#[test]
fn the_body_s_timeout_does_not_shorten_the_exit() {
    #[async_context]
    async fn slow_to_leave(ledger: Ledger) -> Result<(), Fault> {
        let ((), outcome) = yield_!(());
        tokio::time::sleep(Duration::from_secs(60)).await;
        ledger.note(format!("left: {outcome:?}"));
        Ok(())
    }

    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let result = slow_to_leave(ledger.clone())
            .with(async |()| {
                let late = timeout(Duration::from_secs(1), pending::<()>()).await;
                late.map_err(|_| Fault("late"))
            })
            .await;
        assert_eq!(result, Err(Fault("late")));
        assert_eq!(ledger.text(), "left: Failed(Fault(\"late\"))");

        let around = timeout(
            Duration::from_secs(1),
            slow_to_leave(ledger.clone()).with(async |()| pending::<Result<(), _>>().await),
        );
        assert!(around.await.is_err());
        detached::drain().await;
        assert!(ledger.has("left: Cancelled"));
    });
}

#[test]
fn a_cancel_during_enter_does_not_change_what_unrelated_exits_see() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let (inside, go) = (Notify::new(), Semaphore::new(0));
        let other = make("other").with(async |_| {
            inside.notify_one();
            go.acquire().await.map(|_| ()).map_err(|_| Fault("closed"))
        });
        let cancelled = async {
            inside.notified().await;
            assert!(poll_times(make("given up").guard(), 1).await.is_none());
            go.add_permits(1);
        };
        let (result, ()) = futures::join!(other, cancelled);
        assert_eq!(result, Ok(()));
        detached::drain().await;
        assert!(ledger.has("exit other: completed"), "{}", ledger.text());
        assert!(ledger.has("exit given up: cancelled"));
    });
}

#[test]
fn an_outer_future_suspended_in_a_context_exits_it_once_when_it_drops() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let suspended: std::pin::Pin<Box<dyn Future<Output = Result<(), Fault>>>> =
            Box::pin(async {
                let script = Script::new("c", &ledger);
                generated(script).with(async |_| pending().await).await
            });
        assert_eq!(poll_times(suspended, 8).await, None);
        detached::drain().await;
        assert_eq!(ledger.count("exit c"), 1);
    });
}

#[test]
fn an_aborted_task_exits_its_context() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let entered = std::sync::Arc::new(Notify::new());
        let (context, inside) = (generated(Script::new("c", &ledger)), entered.clone());
        let task = tokio::spawn(context.with(async move |_| {
            inside.notify_one();
            pending::<Result<(), Fault>>().await
        }));
        entered.notified().await;
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        detached::drain().await;
        assert!(ledger.text().ends_with("exit c: cancelled, exited c"));
    });
}

#[test]
fn an_arm_of_select_that_loses_exits_its_context() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let loses = generated(Script::new("c", &ledger))
            .with(async |_| pending::<Result<(), Fault>>().await);
        tokio::select! {
            biased;
            _ = loses => unreachable!("its body never ends"),
            () = pause(8) => {}
        }
        detached::drain().await;
        assert!(ledger.text().ends_with("exit c: cancelled, exited c"));
    });
}
