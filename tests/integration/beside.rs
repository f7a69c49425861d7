//! What runs beside the body, and may end it.

use std::future::{Future, pending, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, panic_any, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_context_manager::generator::generator;
use async_context_manager::report::Kind;
use async_context_manager::{
    CarryError, Either, Elapsed, Failure, TimeoutError, async_with,
    contexts::{deadline, join, join_all, suppress_if, until},
    detached,
    prelude::*,
    shared,
};
use futures::{FutureExt, TryStreamExt};
use tests::{
    Fault, Ledger, cancel_at_every_poll, everywhere, on_current_thread, pause, poll_times,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep};

/// What a context in these tests runs beside its body, after two turns.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    IsContent,
    Fails,
    Panics,
    /// Never ends.
    Waits,
}

struct NoteDrop(Ledger, &'static str);

impl Drop for NoteDrop {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

/// It notes what its exit sees.
#[async_context]
async fn lease(ledger: Ledger, then: Then) -> Result<u32, Fault> {
    ledger.note("enter");
    let beside = async {
        let _noted = NoteDrop(ledger.clone(), "beside has dropped");
        pause(2).await;
        match then {
            Then::IsContent => Ok(()),
            Then::Fails => Err(Fault("lost")),
            Then::Panics => resume_unwind(Box::new("beside")),
            Then::Waits => pending().await,
        }
    };
    let (_, outcome) = yield_!(1, beside);
    let from = match outcome.error() {
        Some(error) if error.is_from_beside() => ", from beside",
        _ => "",
    };
    ledger.note(format!("exit: {outcome:?}{from}"));
    pause(3).await;
    ledger.note("exited");
    Ok(())
}

/// A context inside of it.
#[async_context]
async fn inner(ledger: Ledger) -> Result<(), Fault> {
    let ((), outcome) = yield_!(());
    ledger.note(format!("inner: {outcome:?}"));
    pause(2).await;
    ledger.note("inner has exited");
    Ok(())
}

#[test]
fn an_error_from_beside_drops_the_body_and_is_what_exit_sees_and_the_caller_gets() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let result = lease(ledger.clone(), Then::Fails)
            .with(async |_| {
                let _local = NoteDrop(ledger.clone(), "body has dropped");
                inner(ledger.clone()).with(async |()| pending().await).await
            })
            .await;
        assert_eq!(result, Err::<(), _>(Fault("lost")));
        assert_eq!(
            ledger.lines(),
            [
                "enter",
                "beside has dropped",
                "body has dropped",
                "inner: Cancelled",
                "inner has exited",
                "exit: Failed(Fault(\"lost\")), from beside",
                "exited",
            ]
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_ends_well_beside_the_body_changes_nothing() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let result = lease(ledger.clone(), Then::IsContent)
            .with(async |value| {
                pause(5).await;
                Ok(*value)
            })
            .await;
        assert_eq!(result, Ok(1));
        assert_eq!(
            ledger.lines(),
            ["enter", "beside has dropped", "exit: Completed", "exited"]
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_body_that_ends_first_drops_what_runs_beside_it_before_exit_goes_on() {
    everywhere(async |stage| {
        for then in [Then::Waits, Then::Fails] {
            let ledger = Ledger::default();
            let result = lease(ledger.clone(), then)
                .with(async |value| Ok(*value))
                .await;
            assert_eq!(result, Ok(1));
            assert_eq!(
                ledger.lines(),
                ["enter", "beside has dropped", "exit: Completed", "exited"]
            );
        }
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_panic_beside_the_body_is_one_of_the_body() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let used = lease(ledger.clone(), Then::Panics)
            .with(async |_| pending::<Result<(), Fault>>().await);
        let payload = AssertUnwindSafe(used).catch_unwind().await;
        assert_eq!(
            payload.expect_err("it panics").downcast_ref::<&str>(),
            Some(&"beside")
        );
        assert!(ledger.has("exit: Panicked(BodyPanic(\"beside\"))"));
        assert!(ledger.has("exited"));
        assert_eq!(stage.reports(), []);
    });
}

/// Fails in its very first poll, which is the one that enter ends in.
#[async_context]
async fn lost_at_once(ledger: Ledger) -> Result<(), Fault> {
    let ((), outcome) = yield_!((), async { Err(Fault("lost")) });
    ledger.note(format!("exit: {outcome:?}"));
    Ok(())
}

#[test]
fn where_both_end_in_one_poll_the_bodys_result_counts_and_the_error_is_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let result = lost_at_once(ledger.clone()).with(async |()| Ok(1)).await;
        assert_eq!(result, Ok(1));
        assert_eq!(ledger.lines(), ["exit: Completed"]);
        assert_eq!(
            stage.reports(),
            [(Kind::BesideFailed, "Fault(\"lost\")".to_owned())]
        );

        let result = lost_at_once(ledger).with(async |()| pending::<Result<(), _>>().await);
        assert_eq!(result.await, Err(Fault("lost")));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_runs_beside_the_body_goes_on_while_what_is_inside_exits() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        // The body drops a guard whose exit is slow, and ends. What is beside fails in that time.
        #[async_context]
        async fn slow(ledger: Ledger) -> Result<(), Fault> {
            yield_!(());
            until_noted(&ledger, "beside has dropped").await;
            ledger.note("slow has exited");
            Ok(())
        }
        let result = lease(ledger.clone(), Then::Fails)
            .with(async |_| {
                drop(slow(ledger.clone()).guard().await?);
                Ok(1)
            })
            .await;
        assert_eq!(result, Ok(1));
        assert_eq!(
            ledger.lines(),
            [
                "enter",
                "beside has dropped",
                "slow has exited",
                "exit: Completed",
                "exited"
            ]
        );
        assert_eq!(
            stage.reports(),
            [(Kind::BesideFailed, "Fault(\"lost\")".to_owned())]
        );
    });
}

/// What it opens beside its body has exited before its own exit goes on.
#[async_context]
async fn with_a_context_beside(ledger: Ledger) -> Result<(), Fault> {
    let opened = inner(ledger.clone());
    let ((), _) = yield_!((), opened.with(async |()| pending().await));
    ledger.note("exit");
    Ok(())
}

#[test]
fn a_context_that_is_used_beside_the_body_exits_before_the_exit_goes_on() {
    everywhere(async |stage| {
        let program = async |ledger: Ledger| {
            with_a_context_beside(ledger.clone())
                .with(async |()| {
                    pause(6).await;
                    Ok(())
                })
                .await
        };
        cancel_at_every_poll(stage, program, |_, _, ledger| {
            if ledger.has("exit") {
                assert_eq!(
                    ledger.lines(),
                    ["inner: Cancelled", "inner has exited", "exit"]
                );
            } else {
                assert_eq!(ledger.lines(), Vec::<String>::new());
            }
        })
        .await;
    });
}

/// At each poll there is exactly one exit, and it tells the truth.
#[test]
fn a_context_with_something_beside_can_be_dropped_at_every_poll() {
    everywhere(async |stage| {
        for then in [Then::IsContent, Then::Fails, Then::Waits] {
            let program = async |ledger: Ledger| {
                lease(ledger.clone(), then)
                    .with(async |_| {
                        pause(6).await;
                        Ok(())
                    })
                    .await
            };
            cancel_at_every_poll(stage, program, |_, ended, ledger| {
                let entered = ledger.count("enter");
                assert_eq!(ledger.count("exited"), entered);
                assert_eq!(ledger.count("beside has dropped"), entered);
                let told = stage.reports();
                match ended {
                    Some(Ok(())) => assert_ne!(then, Then::Fails),
                    Some(Err(error)) => {
                        assert_eq!((then, error), (Then::Fails, Fault("lost")));
                        assert_eq!(told, []);
                    }
                    None if ledger.has("exit: Failed(Fault(\"lost\")), from beside") => {
                        assert_eq!(told, [(Kind::BodyFailed, "Fault(\"lost\")".to_owned())]);
                    }
                    None => assert_eq!(told, []),
                }
            })
            .await;
        }
    });
}

#[test]
fn what_is_suppressed_may_come_from_beside() {
    everywhere(async |stage| {
        #[async_context(suppress)]
        async fn forgiving() -> Result<(), Fault> {
            let ((), outcome) = yield_!((), async { Err(Fault("lost")) });
            Ok(if outcome.is_failed() {
                Suppression::Suppress
            } else {
                Suppression::Propagate
            })
        }
        let result = forgiving().with(async |()| pending::<Result<(), _>>().await);
        assert_eq!(result.await, Ok(None));

        let ledger = Ledger::default();
        let around = suppress_if(|error: &Fault| *error == Fault("lost"));
        let result = around
            .with(async |()| {
                let used = lease(ledger.clone(), Then::Fails);
                used.with(async |_| pending::<Result<(), _>>().await).await
            })
            .await;
        assert_eq!(result, Ok(None));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn of_two_contexts_the_inner_one_ends_its_own_body_and_the_outer_one_both() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let result = lease(Ledger::default(), Then::Waits)
            .with(async |_| {
                let used = lease(ledger.clone(), Then::Fails);
                let ended = used.with(async |_| pending::<Result<(), _>>().await).await;
                assert_eq!(ended, Err(Fault("lost")));
                Ok(2)
            })
            .await;
        assert_eq!(result, Ok(2));

        let (outer, inner) = (Ledger::default(), Ledger::default());
        let result = lease(outer.clone(), Then::Fails)
            .with(async |_| {
                let used = lease(inner.clone(), Then::Waits);
                used.with(async |_| pending::<Result<(), _>>().await).await
            })
            .await;
        assert_eq!(result, Err(Fault("lost")));
        assert!(inner.has("exit: Cancelled"));
        assert!(outer.has("exit: Failed(Fault(\"lost\")), from beside"));
        assert_eq!(stage.reports(), []);
    });
}

/// By hand, the same.
struct ByHand(Ledger);

impl AsyncContext for ByHand {
    type Value = u32;
    type Error = Fault;
    type Verdict = ();

    async fn enter(&mut self) -> Result<u32, Fault> {
        Ok(1)
    }

    async fn beside(&mut self) -> Result<(), Fault> {
        pause(2).await;
        self.0.note("beside");
        Err(Fault("lost"))
    }

    async fn exit(self, _: u32, outcome: &Outcome) -> Result<(), Fault> {
        self.0.note(format!("exit: {outcome:?}"));
        Ok(())
    }
}

/// By hand, the same as `lease`. A large one is kept in another form.
struct HandLease<const SIZE: usize> {
    ledger: Ledger,
    then: Then,
    _padding: [u8; SIZE],
}

impl<const SIZE: usize> AsyncContext for HandLease<SIZE> {
    type Value = u32;
    type Error = Fault;
    type Verdict = ();

    async fn enter(&mut self) -> Result<u32, Fault> {
        self.ledger.note("enter");
        Ok(1)
    }

    async fn beside(&mut self) -> Result<(), Fault> {
        let _noted = NoteDrop(self.ledger.clone(), "beside has dropped");
        pause(2).await;
        match self.then {
            Then::IsContent => Ok(()),
            Then::Fails => Err(Fault("lost")),
            Then::Panics => resume_unwind(Box::new("beside")),
            Then::Waits => {
                inner(self.ledger.clone())
                    .with(async |()| pending().await)
                    .await
            }
        }
    }

    async fn exit(self, value: u32, outcome: &Outcome) -> Result<(), Fault> {
        assert_eq!(value, 1);
        self.ledger.note(format!("exit: {outcome:?}"));
        pause(3).await;
        self.ledger.note("exited");
        Ok(())
    }
}

/// The same, as a generator.
#[async_context]
async fn generated_lease(ledger: Ledger, then: Then) -> Result<u32, Fault> {
    let mut by_hand = HandLease {
        ledger,
        then,
        _padding: [],
    };
    let value = by_hand.enter().await?;
    let (value, outcome) = yield_!(value, by_hand.beside());
    by_hand.exit(value, outcome).await
}

/// What a use that is dropped after so many polls leaves in the ledger; and what it gave before
/// that: `None` is a panic.
async fn used<C>(
    context: impl FnOnce(Ledger) -> C,
    polls: usize,
) -> (Vec<String>, Option<Option<Result<(), Fault>>>)
where
    C: AsyncContext<Value = u32, Error = Fault, Verdict = ()> + 'static,
{
    let ledger = Ledger::default();
    let used = context(ledger.clone()).with(async |_| {
        pause(5).await;
        Ok(())
    });
    let ended = poll_times(AssertUnwindSafe(used).catch_unwind(), polls).await;
    detached::drain().await;
    (ledger.lines(), ended.map(Result::ok))
}

#[test]
fn by_hand_it_is_as_in_a_generator_wherever_the_use_is_dropped() {
    on_current_thread(async |stage| {
        for then in [Then::IsContent, Then::Fails, Then::Panics, Then::Waits] {
            for polls in 0..20 {
                let generated = used(|ledger| generated_lease(ledger, then), polls).await;
                let reports = stage.reports();
                let small = |ledger| HandLease {
                    ledger,
                    then,
                    _padding: [],
                };
                assert_eq!(used(small, polls).await, generated);
                assert_eq!(stage.reports(), reports);
                let large = |ledger| HandLease {
                    ledger,
                    then,
                    _padding: [0; 1_024],
                };
                assert_eq!(used(large, polls).await, generated);
                assert_eq!(stage.reports(), reports);
            }
        }
    });
}

/// A context around another one, by hand; one that forgets `beside`, and one that does not.
struct Wrapped<C> {
    context: C,
    forwards: bool,
}

impl<C: AsyncContext> AsyncContext for Wrapped<C> {
    type Value = C::Value;
    type Error = C::Error;
    type Verdict = C::Verdict;

    async fn enter(&mut self) -> Result<C::Value, C::Error> {
        self.context.enter().await
    }

    async fn beside(&mut self) -> Result<(), C::Error> {
        if self.forwards {
            self.context.beside().await
        } else {
            Ok(())
        }
    }

    async fn exit(self, value: C::Value, outcome: &Outcome) -> Result<C::Verdict, C::Error> {
        self.context.exit(value, outcome).await
    }
}

async fn is_ended<C>(context: C) -> Result<(), C::Error>
where
    C: AsyncContext<Verdict = ()> + 'static,
{
    context.with(async |_| pending().await).await
}

#[test]
fn it_runs_and_ends_the_body_whatever_the_context_is_wrapped_in() {
    everywhere(async |stage| {
        let lost = || lease(Ledger::default(), Then::Fails);
        let limit = Duration::from_secs(3_600);
        assert_eq!(
            is_ended(ByHand(Ledger::default())).await,
            Err(Fault("lost"))
        );
        assert_eq!(is_ended(lost().boxed()).await, Err(Fault("lost")));
        assert_eq!(is_ended(Some(lost())).await, Err(Fault("lost")));
        let either: Either<_, BoxContext<u32, Fault>> = Either::Left(lost());
        assert_eq!(is_ended(either).await, Err(Fault("lost")));
        assert_eq!(is_ended(vec![lost()]).await, Err(Fault("lost")));
        assert_eq!(is_ended([lost()]).await, Err(Fault("lost")));
        assert_eq!(is_ended(join((lost(),))).await, Err(Fault("lost")));
        assert_eq!(is_ended(join_all([lost()])).await, Err(Fault("lost")));
        assert_eq!(is_ended(lost().independent()).await, Err(Fault("lost")));
        assert_eq!(
            is_ended(lost().cancellable_enter()).await,
            Err(Fault("lost"))
        );
        assert_eq!(
            is_ended(lost().ignore_exit_errors()).await,
            Err(Fault("lost"))
        );
        let mapped = lost().map_err(|error| format!("{error:?}, mapped"));
        assert_eq!(
            is_ended(mapped).await,
            Err("Fault(\"lost\"), mapped".to_owned())
        );
        let twice = lost().map_err(|error| error.0).map_err(str::to_owned);
        assert_eq!(is_ended(twice).await, Err("lost".to_owned()));
        let limited = is_ended(lost().enter_timeout(limit).exit_timeout(limit)).await;
        assert_eq!(
            limited,
            Err(TimeoutError::Context(TimeoutError::Context(Fault("lost"))))
        );
        let wrapped = Wrapped {
            context: lost(),
            forwards: true,
        };
        assert_eq!(is_ended(wrapped).await, Err(Fault("lost")));
        assert_eq!(stage.reports(), []);
    });
}

tokio::task_local! {
    static CARRIED: u32;
}

#[within(lease(Ledger::default(), Then::Fails))]
async fn within_a_lease() -> Result<(), Fault> {
    pending().await
}

#[test]
fn it_ends_a_function_within_it_a_block_a_stream_and_what_carries_or_is_inside() {
    everywhere(async |stage| {
        let lost = || lease(Ledger::default(), Then::Fails);
        assert_eq!(within_a_lease().await, Err(Fault("lost")));

        let block: Result<(), String> = async {
            async_with!(_ = lost().map_err(|error| error.0.to_owned()) => pending().await)
        }
        .await;
        assert_eq!(block, Err("lost".to_owned()));

        let mut items = lost().stream(async |_, items| {
            items.send(1).await;
            endless().await
        });
        assert_eq!(items.try_next().await, Ok(Some(1)));
        assert_eq!(items.try_next().await, Err(Fault("lost")));
        assert_eq!(items.try_next().await, Ok(None));

        let carried = CARRIED.scope(1, is_ended(lost().carry(&CARRIED)));
        let lost_inside = Err(CarryError::Context(Fault("lost")));
        assert_eq!(carried.await, lost_inside);
        let around = lease(Ledger::default(), Then::Waits).guard().await;
        let around = around.expect("it opens");
        assert_eq!(is_ended(lost().inside(&around)).await, Err(Fault("lost")));
        assert_eq!(Guard::close(around).await, Ok(()));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_fails_beside_a_shared_context_is_reported_once_when_that_exits() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let its = ledger.clone();
        let lease = shared(move || lease(its.clone(), Then::Fails));
        let used = lease.with(async |_| {
            until_noted(&ledger, "beside has dropped").await;
            Ok(())
        });
        assert_eq!(used.await, Ok(()));
        assert_eq!(ledger.count("exited"), 1);
        let kinds = stage.reports();
        assert_eq!(kinds, [(Kind::BesideFailed, "Fault(\"lost\")".to_owned())]);
    });
}

/// Code that counts its polls.
struct Counted<F> {
    code: Pin<Box<F>>,
    polls: Arc<AtomicUsize>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.code.as_mut().poll(cx)
    }
}

#[test]
fn the_code_of_a_context_with_nothing_beside_is_not_polled_while_the_body_runs() {
    on_current_thread(async |stage| {
        for is_guarded in [false, true] {
            let polls = Arc::new(AtomicUsize::new(0));
            let counted = |polls: Arc<AtomicUsize>| {
                generator("counted", move |lender| {
                    let code = async move {
                        lender.yield_(()).await;
                        Ok::<(), Fault>(())
                    };
                    let code = Box::pin(code);
                    Counted { code, polls }
                })
            };
            let body = async || {
                let before = polls.load(Ordering::Relaxed);
                pause(9).await;
                tokio::task::yield_now().await;
                assert_eq!(polls.load(Ordering::Relaxed), before);
                before
            };
            let used = counted(Arc::clone(&polls));
            let before = if is_guarded {
                let guard = used.guard().await.expect("it opens");
                let before = body().await;
                assert_eq!(Guard::close(guard).await, Ok(()));
                before
            } else {
                let used = used.with_local(async |()| Ok(body().await)).await;
                used.expect("it ends well")
            };
            // One for enter, one for exit.
            assert_eq!((before, polls.load(Ordering::Relaxed)), (1, 2));
        }
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn who_forwards_enter_and_exit_by_hand_and_forgets_beside_is_told_so() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let wrapped = Wrapped {
            context: lease(ledger.clone(), Then::Waits),
            forwards: false,
        };
        assert_eq!(wrapped.with(async |_| Ok(1)).await, Ok(1));
        assert!(ledger.has("exited"));
        let kinds: Vec<_> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::BesideNotRun]);
    });
}

#[test]
fn a_panic_of_what_the_body_or_beside_drops_keeps_no_exit_from_running() {
    everywhere(async |stage| {
        struct Bomb(&'static str);
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic_any(self.0);
            }
        }
        std::panic::set_hook(Box::new(|_| {}));

        // Of the body, when it is dropped from beside: as a body that panics.
        let ledger = Ledger::default();
        let used = lease(ledger.clone(), Then::Fails).with(async |_| {
            let _bomb = Bomb("local");
            pending::<Result<(), Fault>>().await
        });
        let payload = AssertUnwindSafe(used)
            .catch_unwind()
            .await
            .expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"local"));
        assert!(ledger.has("exit: Panicked(BodyPanic(\"local\"))"));
        assert_eq!(
            stage.reports(),
            [(Kind::BesideFailed, "Fault(\"lost\")".to_owned())]
        );

        // Of what is beside, when the body has ended: reported.
        #[async_context]
        async fn bomb_beside(ledger: Ledger) -> Result<(), Fault> {
            let bomb = Bomb("beside");
            yield_!((), async move {
                let _bomb = bomb;
                pending().await
            });
            ledger.note("exited");
            Ok(())
        }
        let ledger = Ledger::default();
        assert_eq!(
            bomb_beside(ledger.clone()).with(async |()| Ok(1)).await,
            Ok(1)
        );
        assert_eq!(ledger.lines(), ["exited"]);
        assert_eq!(stage.reports(), [(Kind::Panicked, "beside".to_owned())]);
        let _ = std::panic::take_hook();
    });
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_exit_does_not_count_the_time_of_the_body() {
    let _stage = tests::Stage::alone();
    let limited = lease(Ledger::default(), Then::IsContent).exit_timeout(Duration::from_secs(1));
    let begun = Instant::now();
    let result = limited
        .with(async |_| {
            sleep(Duration::from_secs(10)).await;
            Ok(1)
        })
        .await;
    assert_eq!(result, Ok(1));
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

#[test]
fn a_caller_who_goes_away_while_something_is_beside_leaves_one_exit() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let used =
            lease(ledger.clone(), Then::Waits).with(async |_| pending::<Result<(), _>>().await);
        assert!(poll_times(used, 4).await.is_none());
        detached::drain().await;
        assert_eq!(
            ledger.lines(),
            ["enter", "beside has dropped", "exit: Cancelled", "exited"]
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn try_with_tells_both_errors_of_a_body_that_was_ended_from_beside() {
    everywhere(async |stage| {
        #[async_context]
        async fn fails_twice() -> Result<(), Fault> {
            yield_!((), async { Err(Fault("lost")) });
            Err(Fault("exit"))
        }
        let result = fails_twice().try_with(async |()| pending::<Result<(), _>>().await);
        let both = Failure::BodyAndExit {
            body: Fault("lost"),
            exit: Fault("exit"),
        };
        assert_eq!(result.await, Err(both));
        assert_eq!(stage.reports(), []);
    });
}

fn is_send(_: &(impl Future + Send)) {}

#[tokio::test]
async fn a_use_with_something_beside_is_send_and_can_be_spawned() {
    let _stage = tests::Stage::alone();
    let used =
        lease(Ledger::default(), Then::Fails).with(async |_| pending::<Result<(), _>>().await);
    is_send(&used);
    let ended = tokio::spawn(used).await.expect("it does not panic");
    assert_eq!(ended, Err(Fault("lost")));
}

/// Waits for a task of the same thread.
async fn until_noted(ledger: &Ledger, line: &str) {
    while !ledger.has(line) {
        tokio::task::yield_now().await;
    }
}

/// A body that never ends by itself.
async fn endless() -> Result<(), Fault> {
    pending().await
}

#[test]
fn under_a_guard_it_runs_in_a_task_and_the_exit_gives_its_error() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let guard = lease(ledger.clone(), Then::Fails)
            .guard()
            .await
            .expect("it opens");
        Guard::ended(&guard).await;
        assert_eq!(Guard::exit(guard, Ok(1)).await, Err(Fault("lost")));
        assert_eq!(
            ledger.lines(),
            [
                "enter",
                "beside has dropped",
                "exit: Failed(Fault(\"lost\")), from beside",
                "exited"
            ]
        );
        assert_eq!(stage.reports(), []);

        // What the body says after that is reported.
        let guard = lease(ledger, Then::Fails).guard().await.expect("it opens");
        Guard::ended(&guard).await;
        let result = Guard::exit(guard, Err::<(), _>(Fault("body")));
        assert_eq!(result.await, Err(Fault("lost")));
        assert_eq!(
            stage.reports(),
            [(Kind::BodyFailed, "Fault(\"body\")".to_owned())]
        );
        assert_eq!(detached::count(), 0);
    });
}

#[test]
fn a_part_of_the_body_under_a_guard_is_ended_from_beside_and_gets_the_error() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let mut guard = lease(ledger.clone(), Then::Fails)
            .guard()
            .await
            .expect("it opens");
        let part = async |_: &mut u32| inner(ledger.clone()).with(async |()| endless().await).await;
        let ended = Guard::run(&mut guard, part).await;
        assert_eq!(ended, Err(Fault("lost")));
        assert_eq!(Guard::exit(guard, ended).await, Err(Fault("lost")));
        assert_eq!(
            ledger.lines(),
            [
                "enter",
                "beside has dropped",
                "inner: Cancelled",
                "inner has exited",
                "exit: Failed(Fault(\"lost\")), from beside",
                "exited"
            ]
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_guard_that_is_dropped_after_its_body_was_ended_from_beside_reports_the_error() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let guard = lease(ledger.clone(), Then::Fails)
            .guard()
            .await
            .expect("it opens");
        Guard::ended(&guard).await;
        drop(guard);
        detached::drain().await;
        assert!(ledger.has("exit: Cancelled"));
        assert_eq!(
            stage.reports(),
            [(Kind::BesideFailed, "Fault(\"lost\")".to_owned())]
        );

        // One that was not ended says nothing, and neither does one that closes first.
        let guard = lease(ledger.clone(), Then::Waits)
            .guard()
            .await
            .expect("it opens");
        drop(guard);
        let guard = lease(ledger.clone(), Then::Waits)
            .guard()
            .await
            .expect("it opens");
        assert_eq!(Guard::close(guard).await, Ok(()));
        detached::drain().await;
        assert_eq!(ledger.count("enter"), ledger.count("exited"));
        assert_eq!(ledger.count("enter"), ledger.count("beside has dropped"));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_guard_passes_on_what_has_ended_its_body_to_the_context_that_is_built_on_it() {
    on_current_thread(async |stage| {
        #[async_context]
        async fn built(ledger: Ledger, then: Then) -> Result<(), Fault> {
            let lease = lease(ledger, then).guard().await?;
            let ((), outcome) = yield_!(());
            Guard::exit_as(lease, outcome).await
        }
        let ledger = Ledger::default();
        let guard = built(ledger.clone(), Then::Fails)
            .guard()
            .await
            .expect("it opens");
        until_noted(&ledger, "beside has dropped").await;
        assert_eq!(Guard::close(guard).await, Err(Fault("lost")));
        assert!(ledger.has("exit: Failed(Fault(\"lost\")), from beside"));
        assert_eq!(stage.reports(), []);

        let guard = lease(ledger, Then::Fails).guard().await.expect("it opens");
        Guard::ended(&guard).await;
        assert_eq!(Guard::fail(guard, Fault("early")).await, Fault("early"));
        assert_eq!(
            stage.reports(),
            [(Kind::BesideFailed, "Fault(\"lost\")".to_owned())]
        );
    });
}

#[test]
fn in_a_list_those_inside_of_the_one_that_ends_the_body_see_a_cancellation() {
    everywhere(async |stage| {
        let ledgers: Vec<_> = (0..3).map(|_| Ledger::default()).collect();
        let then = [Then::Waits, Then::Fails, Then::Waits];
        let list: Vec<_> = ledgers
            .iter()
            .zip(then)
            .map(|(ledger, then)| lease(ledger.clone(), then))
            .collect();
        assert_eq!(is_ended(list).await, Err(Fault("lost")));
        assert!(ledgers[2].has("exit: Cancelled"));
        assert!(ledgers[1].has("exit: Failed(Fault(\"lost\")), from beside"));
        assert!(ledgers[0].has("exit: Failed(Fault(\"lost\")), from beside"));
        assert_eq!(stage.reports(), []);

        // A panic is one of the body of the one beside which it came up, and of those around.
        let ledgers: Vec<_> = (0..3).map(|_| Ledger::default()).collect();
        let panicking = [Then::Waits, Then::Panics, Then::Waits];
        let members = ledgers.iter().zip(panicking);
        let list: Vec<_> = members.map(|(it, then)| lease(it.clone(), then)).collect();
        let payload = AssertUnwindSafe(is_ended(list)).catch_unwind().await;
        let payload = payload.expect_err("it panics");
        assert_eq!(payload.downcast_ref(), Some(&"beside"));
        assert!(ledgers[2].has("exit: Cancelled"));
        for ledger in &ledgers[..2] {
            assert!(ledger.has("exit: Panicked(BodyPanic(\"beside\"))"));
        }
        assert_eq!(stage.reports(), []);

        // In a `join`, all see the error.
        let ledgers: Vec<_> = (0..3).map(|_| Ledger::default()).collect();
        let all = join_all(
            ledgers
                .iter()
                .zip(then)
                .map(|(it, then)| lease(it.clone(), then)),
        );
        assert_eq!(is_ended(all).await, Err(Fault("lost")));
        for ledger in &ledgers {
            assert!(ledger.has("exit: Failed(Fault(\"lost\")), from beside"));
            assert_eq!(ledger.count("exited"), 1);
        }
        assert_eq!(stage.reports(), []);
    });
}

/// Enters, and exits, after so many turns.
#[async_context]
async fn slow(ledger: Ledger, enter: usize, exit: usize) -> Result<u32, Fault> {
    pause(enter).await;
    ledger.note("slow has entered");
    yield_!(1);
    pause(exit).await;
    ledger.note("slow has exited");
    Ok(())
}

#[test]
fn an_error_that_comes_in_the_very_poll_that_yields_is_converted_once() {
    everywhere(async |stage| {
        let told = || Some(until(async { "told" }));
        let mapped = || told().map_err(|text: &str| text.len());
        assert_eq!(is_ended(mapped()).await, Err(4));
        assert_eq!(
            is_ended(told().map_err(str::to_owned)).await,
            Err("told".to_owned())
        );
        let limited = told().exit_timeout(Duration::from_secs(60));
        let ended = is_ended(limited).await;
        assert!(
            matches!(ended, Err(TimeoutError::Context("told"))),
            "{ended:?}"
        );

        let guard = mapped().guard().await.expect("it enters");
        Guard::ended(&guard).await;
        assert_eq!(Guard::exit(guard, Ok(())).await, Err(4));

        let scope = ExitStack::<String>::scope(async |stack| {
            drop(stack.enter(told()).await?);
            pending::<Result<(), String>>().await
        });
        assert_eq!(scope.await, Err("told".to_owned()));
        assert_eq!(stage.reports(), []);
    });
}

/// It counts its turns, and fails once it is told to.
#[async_context]
async fn renewed(ledger: Ledger, fails: Arc<AtomicBool>) -> Result<u32, Fault> {
    let beside = async {
        loop {
            pause(1).await;
            if fails.load(Ordering::SeqCst) {
                return Err(Fault("not renewed"));
            }
            ledger.note("renewed");
        }
    };
    let (_, outcome) = yield_!(1, beside);
    let outcome = format!("exit: {outcome:?}");
    ledger.note(outcome);
    Ok(())
}

#[test]
fn what_runs_beside_an_entry_goes_on_though_the_stack_of_a_scope_was_moved_away() {
    on_current_thread(async |stage| {
        for by_take in [false, true] {
            let [ledger, later] = [Ledger::default(), Ledger::default()];
            let fails = Arc::new(AtomicBool::new(false));
            let scope = ExitStack::<Fault>::scope(async |stack| {
                drop(
                    stack
                        .enter(renewed(ledger.clone(), Arc::clone(&fails)))
                        .await?,
                );
                let mut moved = if by_take {
                    stack.take()
                } else {
                    mem::take(stack)
                };
                pause(3).await;
                assert!(ledger.count("renewed") > 0);
                drop(moved.enter(renewed(later.clone(), Arc::default())).await?);
                moved.keep(());
                moved.extend(ExitStack::new());
                Ok(moved)
            });
            let moved = scope.await.expect("nothing fails");
            for its in [&ledger, &later] {
                let before = its.count("renewed");
                while its.count("renewed") == before {
                    pause(1).await;
                }
            }
            fails.store(true, Ordering::SeqCst);
            pause(20).await;
            assert_eq!(moved.exit(Ok(())).await, Err(Fault("not renewed")));
            assert_eq!(later.count("exit: Cancelled"), 1);
            assert_eq!(stage.reports(), []);
        }
    });
}

#[test]
fn a_member_that_waits_for_its_turn_does_not_wake_itself() {
    #[async_context]
    async fn slow() -> Result<(), Fault> {
        let ((), _) = yield_!(());
        sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// The future beside its body gives up a context, which the exit waits for.
    #[async_context]
    async fn leaving() -> Result<(), Fault> {
        let beside = async {
            drop(slow().guard().await?);
            pending().await
        };
        yield_!((), beside);
        Ok(())
    }

    /// Awaits the future, which must not be polled often.
    async fn seldom<F: Future>(future: F) -> F::Output {
        let (mut future, mut polls) = (pin!(future), 0);
        poll_fn(|cx| {
            polls += 1;
            assert!(polls < 100, "it wakes itself");
            future.as_mut().poll(cx)
        })
        .await
    }

    on_current_thread(async |stage| {
        let begun = Instant::now();
        let joined = join((leaving(),)).with(async |_| Ok(()));
        assert_eq!(seldom(joined).await, Ok(()));
        let listed = vec![leaving()].with(async |_| Ok(()));
        assert_eq!(seldom(listed).await, Ok(()));
        let scope = ExitStack::<Fault>::scope(async |stack| {
            drop(stack.enter(leaving()).await?);
            Ok(())
        });
        assert_eq!(seldom(scope).await, Ok(()));
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_body_that_uses_up_the_budget_of_its_task_does_not_starve_what_runs_beside_it() {
    #[async_context]
    async fn told(ledger: Ledger, mut news: UnboundedReceiver<()>) -> Result<(), Fault> {
        let beside = async move {
            while news.recv().await.is_some() {
                ledger.note("told");
            }
            Err(Fault("the end"))
        };
        yield_!((), beside);
        Ok(())
    }

    /// Never waits for anything but the budget of its task.
    async fn busy(news: UnboundedSender<()>) -> Result<(), Fault> {
        for turn in 0..10_000 {
            if turn == 1_000 || turn == 2_000 {
                news.send(()).expect("it is received");
            }
            consume_budget().await;
        }
        drop(news);
        loop {
            consume_budget().await;
        }
    }

    on_current_thread(async |stage| {
        let ended = Err(Fault("the end"));
        let ledger = Ledger::default();
        let (sender, receiver) = unbounded_channel();
        let used = told(ledger.clone(), receiver).with(async |()| busy(sender).await);
        assert_eq!(used.await, ended);
        assert_eq!(ledger.text(), "told, told");

        let (sender, receiver) = unbounded_channel();
        let scope = ExitStack::<Fault>::scope(async |stack| {
            drop(stack.enter(told(ledger.clone(), receiver)).await?);
            busy(sender).await
        });
        assert_eq!(scope.await, ended);

        let (sender, receiver) = unbounded_channel();
        let members = join((told(ledger.clone(), receiver),));
        assert_eq!(members.with(async |_| busy(sender).await).await, ended);
        assert_eq!(ledger.count("told"), 6);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_runs_beside_a_body_and_uses_up_the_budget_of_its_task_does_not_starve_the_body() {
    /// Fails after a long while, so that this test fails instead of going on for ever.
    #[async_context]
    async fn greedy() -> Result<(), Fault> {
        yield_!((), async {
            for _ in 0..100_000 {
                consume_budget().await;
            }
            Err(Fault("the body starves"))
        });
        Ok(())
    }

    async fn busy() -> Result<u32, Fault> {
        for _ in 0..1_000 {
            consume_budget().await;
        }
        Ok(7)
    }

    on_current_thread(async |stage| {
        assert_eq!(greedy().with(async |()| busy().await).await, Ok(7));
        let scope = ExitStack::<Fault>::scope(async |stack| {
            drop(stack.enter(greedy()).await?);
            busy().await
        });
        assert_eq!(scope.await, Ok(7));
        let members = vec![greedy(), greedy()];
        assert_eq!(members.with(async |_| busy().await).await, Ok(7));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_runs_beside_an_entry_of_a_stack_sees_that_the_body_of_the_entry_is_over() {
    /// Its exit leaves a context behind, which closes for five seconds.
    #[async_context]
    async fn leaving() -> Result<(), Elapsed> {
        let ((), _) = yield_!(());
        drop(slow().guard().await?);
        Ok(())
    }

    #[async_context]
    async fn slow() -> Result<(), Elapsed> {
        let ((), _) = yield_!(());
        sleep(Duration::from_secs(5)).await;
        Ok(())
    }

    #[async_context]
    async fn noted(ledger: Ledger) -> Result<(), Elapsed> {
        let ((), outcome) = yield_!(());
        ledger.note(format!("{outcome:?}"));
        Ok(())
    }

    on_current_thread(async |stage| {
        // The entry waits for what the exit above it has left.
        let second = Duration::from_secs(1);
        let stack = ExitStack::<Elapsed>::new();
        let enter = async |stack: &ExitStack<Elapsed>| {
            drop(stack.enter(deadline(second)).await?);
            drop(stack.enter(leaving()).await?);
            Ok::<_, Elapsed>(())
        };
        enter(&stack).await.expect("both enter");
        assert_eq!(stack.exit(Ok(7)).await, Ok(7));

        // The stack waits in the background.
        let ledger = Ledger::default();
        let stack = ExitStack::<TimeoutError<Elapsed>>::new();
        let limited = noted(ledger.clone()).body_timeout(second);
        drop(stack.enter(limited).await.expect("it enters"));
        drop(slow().guard().await.expect("it enters"));
        drop(stack.exit(Ok(())));
        detached::drain().await;
        assert_eq!(ledger.text(), "Completed");
        assert_eq!(stage.reports(), []);
    });
}

/// A waker that tells by its count whether it is still held.
struct Held;

impl Wake for Held {
    fn wake(self: Arc<Self>) {}
}

/// Runs the future to its end. Also returns its waker, for a count of those who hold it.
fn with_a_waker<F: Future>(future: F) -> (F::Output, Arc<Held>) {
    let held = Arc::new(Held);
    let output = {
        let waker = Waker::from(Arc::clone(&held));
        let (mut future, mut cx) = (Box::pin(future), Context::from_waker(&waker));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                break output;
            }
        }
    };
    (output, held)
}

#[test]
fn a_stack_that_a_scope_has_back_is_dropped_with_the_scope() {
    on_current_thread(async |stage| {
        let scope = ExitStack::<Fault>::scope(async |stack| {
            let context = renewed(Ledger::default(), Arc::default());
            drop(stack.enter(context).await?);
            let all = stack.take();
            stack.extend(all);
            pause(1).await;
            Ok(())
        });
        let (ended, held) = with_a_waker(scope);
        assert_eq!(ended, Ok(()));
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_stack_that_leaves_its_scope_does_not_hold_the_waker_of_the_scope() {
    on_current_thread(async |stage| {
        let scope = ExitStack::<Fault>::scope(async |stack| {
            let context = renewed(Ledger::default(), Arc::default());
            drop(stack.enter(context).await?);
            pause(1).await;
            Ok(mem::take(stack))
        });
        let (kept, held) = with_a_waker(scope);
        pause(3).await; // from now on, a task polls what runs beside the entry
        assert_eq!(Arc::strong_count(&held), 1);
        kept.expect("nothing fails")
            .exit(Ok(()))
            .await
            .expect("it exits");
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn the_end_of_an_inner_scope_leaves_its_stack_to_the_outer_scope_that_has_it_now() {
    on_current_thread(async |stage| {
        let ends = Arc::new(AtomicBool::new(false));
        let failing = || renewed(Ledger::default(), Arc::clone(&ends));
        let outer = ExitStack::<Fault>::scope(async |outer| {
            let kept = ExitStack::<Fault>::scope(async |inner| {
                let kept = outer.take(); // the outer stack is now the younger one
                outer.extend(mem::take(inner));
                Ok(kept)
            });
            let _kept = kept.await?;
            drop(outer.enter(failing()).await?);
            ends.store(true, Ordering::SeqCst);
            pending::<Result<(), _>>().await
        });
        assert_eq!(
            poll_times(outer, 1_000).await,
            Some(Err(Fault("not renewed")))
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_stack_that_two_scopes_have_had_ends_the_body_of_the_one_that_has_it_now() {
    on_current_thread(async |stage| {
        let ends = Arc::new(AtomicBool::new(false));
        let inner_has_ended = AtomicBool::new(false);
        let failing = || renewed(Ledger::default(), Arc::clone(&ends));
        let content = || renewed(Ledger::default(), Arc::default());
        let outer = ExitStack::<Fault>::scope(async |outer| {
            drop(outer.enter(content()).await?);
            let inner = ExitStack::<Fault>::scope(async |inner| {
                inner.extend(outer.take());
                pause(3).await;
                drop(inner.enter(failing()).await?);
                ends.store(true, Ordering::SeqCst);
                pending::<Result<(), _>>().await
            });
            assert_eq!(inner.await, Err(Fault("not renewed")));
            inner_has_ended.store(true, Ordering::SeqCst);
            drop(outer.enter(failing()).await?);
            pending::<Result<(), _>>().await
        });
        let ended = poll_times(outer, 1_000).await;
        assert_eq!(ended, Some(Err(Fault("not renewed"))));
        assert!(inner_has_ended.load(Ordering::SeqCst));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_another_task_enters_in_the_stack_of_a_scope_is_driven() {
    /// It counts its seconds.
    #[async_context]
    async fn counting(ledger: Ledger) -> Result<(), Fault> {
        let beside = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                ledger.note("a second");
            }
        };
        yield_!((), beside);
        Ok(())
    }

    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let scope = ExitStack::<Fault>::scope(async |stack| {
            let (moved, its) = (mem::take(stack), ledger.clone());
            // The scope waits for the task alone.
            let other = tokio::spawn(async move {
                drop(moved.enter(counting(its)).await?);
                sleep(Duration::from_millis(9_500)).await;
                moved.exit(Ok(())).await
            });
            other.await.expect("no panic")
        });
        assert_eq!(scope.await, Ok(()));
        assert_eq!(ledger.count("a second"), 9);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_runs_beside_the_entries_of_a_stack_goes_on_in_each_of_its_parts() {
    on_current_thread(async |stage| {
        let mut ledgers = Vec::new();
        let mut lease = || {
            ledgers.push(Ledger::default());
            let ledger = ledgers[ledgers.len() - 1].clone();
            renewed(ledger, Arc::default())
        };
        let mut stack = ExitStack::<Fault>::new();
        drop(stack.enter(lease()).await.expect("it opens"));
        let mut taken = stack.take();
        drop(stack.enter(lease()).await.expect("it opens"));
        drop(taken.enter(lease()).await.expect("it opens"));
        let mut older = ExitStack::new();
        // Now the stack that the other one is added to is the younger one.
        mem::swap(&mut older, &mut taken);
        taken.extend(older);
        drop(taken.enter(lease()).await.expect("it opens"));
        let before: Vec<_> = ledgers.iter().map(|it| it.count("renewed")).collect();
        pause(5).await;
        for (ledger, before) in ledgers.iter().zip(before) {
            assert!(ledger.count("renewed") > before);
        }
        assert_eq!(stack.exit(Ok(())).await, Ok(()));
        assert_eq!(taken.exit(Ok(())).await, Ok(()));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_runs_beside_a_member_goes_on_though_the_whole_was_given_up_as_another_one_entered() {
    #[async_context]
    async fn slow_to_enter(is_there: Arc<AtomicBool>) -> Result<u32, Fault> {
        while !is_there.load(Ordering::SeqCst) {
            pause(1).await;
        }
        yield_!(1);
        Ok(())
    }

    on_current_thread(async |stage| {
        for is_joined in [false, true] {
            let (ledger, is_there) = (Ledger::default(), Arc::new(AtomicBool::new(false)));
            let members = vec![
                renewed(ledger.clone(), Arc::default()).boxed(),
                slow_to_enter(Arc::clone(&is_there)).boxed(),
            ];
            let polled = if is_joined {
                let body = async |_: &mut _| pending::<Result<(), _>>().await;
                poll_times(join_all(members).with(body), 3).await
            } else {
                let body = async |_: &mut _| pending::<Result<(), _>>().await;
                poll_times(members.with(body), 3).await
            };
            assert!(polled.is_none());
            let before = ledger.count("renewed");
            pause(10).await;
            let is_open = ledger.count("exit: Cancelled") == 0;
            assert!(!is_open || ledger.count("renewed") > before);
            assert_eq!(is_open, !is_joined);
            is_there.store(true, Ordering::SeqCst);
            detached::drain().await;
            assert_eq!(ledger.count("exit: Cancelled"), 1);
            assert_eq!(stage.reports(), []);
        }
    });
}

#[test]
fn what_fails_beside_an_entry_ends_the_body_of_the_scope_that_has_taken_it_over() {
    everywhere(async |stage| {
        for is_older in [false, true] {
            for own in [false, true] {
                let fails = Arc::new(AtomicBool::new(false));
                let more = async |stack: &mut ExitStack<Fault>| {
                    let lease = renewed(Ledger::default(), Arc::clone(&fails));
                    drop(stack.enter(lease).await.expect("it opens"));
                };
                let mut other = ExitStack::new();
                if is_older {
                    more(&mut other).await;
                }
                let scope = ExitStack::<Fault>::scope(async |stack| {
                    if own {
                        let lease = renewed(Ledger::default(), Arc::default());
                        drop(stack.enter(lease).await?);
                    }
                    if !is_older {
                        other = ExitStack::new();
                        more(&mut other).await;
                    }
                    stack.extend(other);
                    pause(2).await;
                    fails.store(true, Ordering::SeqCst);
                    pending::<Result<(), _>>().await
                });
                assert_eq!(scope.await, Err(Fault("not renewed")));
                assert_eq!(stage.reports(), []);
            }
        }
    });
}

#[test]
fn each_of_two_errors_from_beside_a_context_is_mapped() {
    everywhere(async |stage| {
        let lost = || lease(Ledger::default(), Then::Fails);
        let mapped = || join((lost(), lost())).map_err(|Fault(text)| format!("mapped {text}"));

        assert_eq!(is_ended(mapped()).await, Err("mapped lost".to_owned()));
        // The second one came too late. The `join` itself reports it.
        let second = (Kind::BesideFailed, "Fault(\"lost\")".to_owned());
        assert_eq!(stage.reports(), [second]);

        let guard = mapped().guard().await.expect("it enters");
        Guard::ended(&guard).await;
        pause(5).await;
        let ended = Guard::exit(guard, Ok(())).await;
        assert_eq!(ended, Err("mapped lost".to_owned()));
        let second = (Kind::BesideFailed, "\"mapped lost\"".to_owned());
        assert_eq!(stage.reports(), [second]);
    });
}

/// Its future beside the body fails in the very poll that yields.
#[async_context]
async fn hasty() -> Result<(), Fault> {
    yield_!((), async { Err(Fault("beside")) });
    Err(Fault("commit"))
}

#[test]
fn an_error_of_exit_is_mapped_though_one_from_beside_came_too_late() {
    everywhere(async |stage| {
        let mapped = hasty().map_err(|Fault(text)| format!("mapped {text}"));
        let ended = mapped.with(async |()| Ok(1)).await;
        assert_eq!(ended, Err("mapped commit".to_owned()));
        let late = (Kind::BesideFailed, "\"mapped beside\"".to_owned());
        assert_eq!(stage.reports(), [late]);
    });
}

#[test]
fn what_fails_beside_in_the_poll_that_yields_has_ended_the_body_of_a_guard_at_once() {
    #[async_context]
    async fn failing() -> Result<(), Fault> {
        let ((), outcome) = yield_!((), async { Err(Fault("beside")) });
        assert!(outcome.is_failed());
        Ok(())
    }

    everywhere(async |stage| {
        let guard = failing().guard().await.expect("it enters");
        assert!(Guard::ended(&guard).now_or_never().is_some());
        assert_eq!(Guard::close(guard).await, Err(Fault("beside")));

        let stack = ExitStack::<Fault>::new();
        drop(stack.enter(failing()).await.expect("it enters"));
        assert_eq!(stack.exit(Ok(())).await, Err(Fault("beside")));
        let scope = ExitStack::<Fault>::scope(async |stack| {
            drop(stack.enter(failing()).await?);
            pending::<Result<(), _>>().await
        });
        assert_eq!(scope.await, Err(Fault("beside")));
        let joined = join((failing(), failing()));
        assert_eq!(is_ended(joined).await, Err(Fault("beside")));
        let late = (Kind::BesideFailed, "Fault(\"beside\")".to_owned());
        assert_eq!(stage.reports(), [late]);
    });
}

/// The call of its `beside` panics, before there is a future.
struct PanicsAtTheCall<const SIZE: usize>(Ledger, [u8; SIZE]);

impl<const SIZE: usize> AsyncContext for PanicsAtTheCall<SIZE> {
    type Value = u32;
    type Error = Fault;
    type Verdict = ();

    async fn enter(&mut self) -> Result<u32, Fault> {
        Ok(1)
    }

    fn beside(&mut self) -> impl Future<Output = Result<(), Fault>> + Send {
        if self.1.len() < usize::MAX {
            resume_unwind(Box::new("the call"));
        }
        pending()
    }

    async fn exit(self, value: u32, outcome: &Outcome) -> Result<(), Fault> {
        self.0.note(format!("exit: {value}, {outcome:?}"));
        Ok(())
    }
}

#[test]
fn a_panic_in_the_call_of_beside_ends_the_body_and_the_context_exits() {
    async fn panics<C: AsyncContext<Error = Fault, Verdict = ()> + 'static>(
        context: C,
        ledger: &Ledger,
    ) {
        let used = AssertUnwindSafe(context.guard()).catch_unwind().await;
        let guard = used.expect("enter has not panicked").expect("it enters");
        let closed = AssertUnwindSafe(Guard::close(guard)).catch_unwind().await;
        let payload = closed.expect_err("the panic goes on");
        assert_eq!(payload.downcast_ref(), Some(&"the call"));
        let exit = "exit: 1, Panicked(BodyPanic(\"the call\"))";
        assert_eq!(ledger.lines(), [exit]);
    }

    everywhere(async |stage| {
        let ledger = Ledger::default();
        panics(PanicsAtTheCall(ledger.clone(), []), &ledger).await;
        let ledger = Ledger::default();
        panics(PanicsAtTheCall(ledger.clone(), [0; 1_024]), &ledger).await;
        let ledger = Ledger::default();
        let part = PanicsAtTheCall(ledger.clone(), []).enter_timeout(Duration::from_secs(1));
        panics(part.map_err(|_| Fault("limit")), &ledger).await;
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn once_the_future_beside_a_member_s_body_has_failed_no_further_member_of_a_join_enters() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let all: Vec<BoxContext<u32, Fault>> = vec![
            lease(ledger.clone(), Then::Fails).boxed(),
            slow(ledger.clone(), 3, 0).boxed(),
            slow(ledger.clone(), 0, 0).boxed(),
        ];
        let all = join_all(all).limit(1);
        assert_eq!(all.with(async |_| Ok(())).await, Err(Fault("lost")));
        assert_eq!(ledger.count("slow has entered"), 1);
        assert_eq!(ledger.count("slow has exited"), 1);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_runs_beside_a_member_goes_on_while_another_one_enters_and_exits() {
    everywhere(async |stage| {
        // It counts its turns.
        #[async_context]
        async fn renewed(ledger: Ledger) -> Result<u32, Fault> {
            let beside = async {
                loop {
                    ledger.note("renewed");
                    pause(1).await;
                }
            };
            yield_!(1, beside);
            Ok(())
        }
        let ledger = Ledger::default();
        let pair = vec![
            renewed(ledger.clone()).boxed(),
            slow(Ledger::default(), 5, 5).boxed(),
        ];
        assert_eq!(pair.with(async |_| Ok(())).await, Ok(()));
        assert!(ledger.count("renewed") >= 10, "{}", ledger.count("renewed"));

        let ledger = Ledger::default();
        let pair = join((renewed(ledger.clone()), slow(Ledger::default(), 5, 0)));
        assert_eq!(pair.with(async |_| Ok(())).await, Ok(()));
        assert!(ledger.count("renewed") >= 5, "{}", ledger.count("renewed"));

        let ledger = Ledger::default();
        let result = ExitStack::scope(async |stack| {
            drop(stack.enter(renewed(ledger.clone())).await?);
            drop(stack.enter(slow(Ledger::default(), 5, 5)).await?);
            Ok::<_, Fault>(())
        });
        assert_eq!(result.await, Ok(()));
        assert!(ledger.count("renewed") >= 10, "{}", ledger.count("renewed"));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn what_fails_beside_a_member_ends_the_enter_of_those_after_it() {
    everywhere(async |stage| {
        let (first, second) = (Ledger::default(), Ledger::default());
        let list = vec![
            lease(first.clone(), Then::Fails).boxed(),
            slow(second.clone(), 9, 1).boxed(),
        ];
        assert_eq!(list.with(async |_| Ok(())).await, Err(Fault("lost")));
        assert!(first.has("exit: Failed(Fault(\"lost\")), from beside"));
        assert_eq!(second.lines(), ["slow has entered", "slow has exited"]);

        let (first, second) = (Ledger::default(), Ledger::default());
        let both = join((
            lease(first.clone(), Then::Fails),
            slow(second.clone(), 9, 1),
        ));
        assert_eq!(both.with(async |_| Ok(())).await, Err(Fault("lost")));
        assert!(first.has("exit: Failed(Fault(\"lost\"))"));
        assert_eq!(second.lines(), ["slow has entered", "slow has exited"]);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn in_the_scope_of_a_stack_each_entry_may_end_the_body() {
    everywhere(async |stage| {
        let ledgers: Vec<_> = (0..3).map(|_| Ledger::default()).collect();
        let then = [Then::Waits, Then::Fails, Then::Waits];
        let ended = ExitStack::scope(async |stack| {
            for (ledger, then) in ledgers.iter().zip(then) {
                drop(stack.enter(lease(ledger.clone(), then)).await?);
            }
            let _local = NoteDrop(ledgers[2].clone(), "body has dropped");
            endless().await
        });
        assert_eq!(ended.await, Err(Fault("lost")));
        assert_eq!(
            ledgers[2].lines(),
            [
                "enter",
                "body has dropped",
                "beside has dropped",
                "exit: Cancelled",
                "exited"
            ]
        );
        assert!(ledgers[1].has("exit: Failed(Fault(\"lost\")), from beside"));
        assert!(ledgers[0].has("exit: Failed(Fault(\"lost\")), from beside"));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn in_a_stack_without_a_scope_tasks_run_it_and_its_exit_gives_the_error() {
    on_current_thread(async |stage| {
        let (first, second) = (Ledger::default(), Ledger::default());
        let stack = ExitStack::<Fault>::new();
        drop(
            stack
                .enter(lease(first.clone(), Then::Fails))
                .await
                .expect("it opens"),
        );
        drop(
            stack
                .enter(lease(second.clone(), Then::Waits))
                .await
                .expect("it opens"),
        );
        until_noted(&first, "beside has dropped").await;
        assert_eq!(stack.exit(Ok(1)).await, Err(Fault("lost")));
        assert!(second.has("exit: Cancelled"));
        assert!(first.has("exit: Failed(Fault(\"lost\")), from beside"));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_release_gives_the_error_from_beside_or_reports_it() {
    on_current_thread(async |stage| {
        let stack = ExitStack::<Fault>::new();
        for is_awaited in [true, false] {
            let ledger = Ledger::default();
            let context = lease(ledger.clone(), Then::Fails);
            let lent = stack.enter(context).await.expect("it opens");
            until_noted(&ledger, "beside has dropped").await;
            let released = lent.release();
            if is_awaited {
                assert_eq!(released.await, Err(Fault("lost")));
                assert_eq!(stage.reports(), []);
            } else {
                drop(released);
                detached::drain().await;
                let error = (Kind::BodyFailed, "Fault(\"lost\")".to_owned());
                assert_eq!(stage.reports(), [error]);
            }
            assert!(ledger.has("exit: Failed(Fault(\"lost\")), from beside"));
        }
        assert_eq!(stack.exit(Ok(1)).await, Ok(1));
    });
}

#[test]
fn what_is_taken_out_of_a_scope_is_run_by_tasks_and_what_comes_after_by_the_scope() {
    on_current_thread(async |stage| {
        let (first, second) = (Ledger::default(), Ledger::default());
        let ended = ExitStack::scope(async |stack| {
            drop(stack.enter(lease(first.clone(), Then::Fails)).await?);
            let taken = stack.take();
            until_noted(&first, "beside has dropped").await;
            assert_eq!(taken.exit(Ok(1)).await, Err(Fault("lost")));
            drop(stack.enter(lease(second.clone(), Then::Fails)).await?);
            endless().await
        });
        assert_eq!(ended.await, Err(Fault("lost")));
        assert!(second.has("exit: Failed(Fault(\"lost\")), from beside"));
        assert_eq!(stage.reports(), []);
    });
}

/// The program in which a guard is dropped by the very poll of what runs beside its body.
#[test]
fn what_runs_beside_a_guard_may_drop_that_guard() {
    use std::sync::Mutex;

    type Kept = Arc<Mutex<Option<Box<dyn std::any::Any + Send>>>>;

    #[async_context]
    async fn suicidal(kept: Kept, ledger: Ledger) -> Result<(), Fault> {
        let beside = async {
            let guard = loop {
                let taken = kept.lock().expect("nobody panics").take();
                match taken {
                    Some(guard) => break guard,
                    None => pause(1).await,
                }
            };
            drop(guard);
            ledger.note("has dropped its guard");
            pause(1).await;
            Ok(())
        };
        let ((), outcome) = yield_!((), beside);
        ledger.note(format!("exit: {outcome:?}"));
        Ok(())
    }

    everywhere(async |stage| {
        let (kept, ledger) = (Kept::default(), Ledger::default());
        let guard = suicidal(Arc::clone(&kept), ledger.clone())
            .guard()
            .await
            .expect("it opens");
        *kept.lock().expect("nobody panics") = Some(Box::new(guard));
        until_noted(&ledger, "has dropped its guard").await;
        detached::drain().await;
        assert_eq!(stage.reports(), []);
        assert_eq!(ledger.lines(), ["has dropped its guard", "exit: Cancelled"]);
    });
}
