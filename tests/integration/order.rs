//! Exits in reverse order of entering, also detached ones, also when the task moves on.

use std::future::pending;
use std::sync::Arc;

use async_context_manager::{detached, prelude::*};
use tests::{
    Fault, Ledger, everywhere, in_a_process_of_its_own, on_current_thread, pause, poll_times,
};
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

/// A context whose exit waits for a permit.
#[async_context]
async fn gated(
    name: &'static str,
    ledger: Ledger,
    gate: Arc<Semaphore>,
) -> Result<&'static str, Fault> {
    ledger.note(format!("entered {name}"));
    let (_, outcome) = yield_!(name);
    ledger.note(format!("exit {name}: {outcome:?}"));
    let permit = gate.acquire().await;
    permit.expect("the gate stays open").forget();
    ledger.note(format!("exited {name}"));
    Ok(())
}

/// One ledger, one gate that is shut, and contexts of two kinds.
struct Scene {
    ledger: Ledger,
    gate: Arc<Semaphore>,
}

impl Scene {
    fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    /// Its exit ends when the gate is opened.
    fn slow(
        &self,
        name: &'static str,
    ) -> impl AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + use<> {
        gated(name, self.ledger.clone(), self.gate.clone())
    }

    /// Its exit ends at once.
    fn quick(
        &self,
        name: &'static str,
    ) -> impl AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + use<> {
        gated(name, self.ledger.clone(), Arc::new(Semaphore::new(1)))
    }

    fn open(&self) {
        self.gate.add_permits(100);
    }
}

/// Gives every other task on this thread, and on others, a chance to do the wrong thing.
async fn let_others_run() {
    pause(100).await;
}

async fn forever() -> Result<(), Fault> {
    pending().await
}

#[test]
fn nested_contexts_that_are_dropped_together_exit_from_the_inside_out() {
    everywhere(async |_| {
        let scene = Scene::new();
        let nested = scene.quick("outer").with(async |_| {
            let inner = async |_: &mut &'static str| {
                scene.slow("inner").with(async |_| forever().await).await
            };
            scene.quick("middle").with(inner).await
        });
        assert_eq!(poll_times(nested, 5).await, None);
        scene.ledger.until("exit inner: Cancelled").await;
        let_others_run().await;
        assert_eq!(
            scene.ledger.text(),
            "entered outer, entered middle, entered inner, exit inner: Cancelled"
        );
        scene.open();
        detached::drain().await;
        scene.ledger.check_nesting();
    });
}

#[test]
fn guards_side_by_side_that_are_dropped_together_exit_in_reverse() {
    everywhere(async |_| {
        let scene = Scene::new();
        let function = async {
            let _first = scene.quick("first").guard().await?;
            let _second = scene.quick("second").guard().await?;
            let _third = scene.slow("third").guard().await?;
            forever().await
        };
        assert_eq!(poll_times(function, 5).await, None);
        scene.ledger.until("exit third: Cancelled").await;
        let_others_run().await;
        assert!(
            scene
                .ledger
                .text()
                .ends_with("entered third, exit third: Cancelled")
        );
        scene.open();
        detached::drain().await;
        scene.ledger.check_nesting();
    });
}

#[test]
fn guards_beside_each_other_inside_a_body_exit_in_reverse_before_its_context() {
    everywhere(async |_| {
        let scene = Scene::new();
        let function = scene.quick("around").with(async |_| {
            let _first = scene.quick("first").guard().await?;
            let _second = scene.slow("second").guard().await?;
            forever().await
        });
        assert_eq!(poll_times(function, 5).await, None);
        scene.ledger.until("exit second: Cancelled").await;
        let_others_run().await;
        assert!(
            scene
                .ledger
                .text()
                .ends_with("entered second, exit second: Cancelled")
        );
        scene.open();
        detached::drain().await;
        scene.ledger.check_nesting();
    });
}

#[test]
fn an_outer_exit_waits_for_an_inner_one_that_timed_out_before() {
    on_current_thread(async |_| {
        for outer_is_a_guard in [false, true] {
            let scene = Arc::new(Scene::new());
            let inside = scene.clone();
            let late = async move {
                let inner = inside.slow("inner").with(async |_| forever().await);
                let late = timeout(Duration::from_secs(1), inner).await;
                assert!(late.is_err());
                inside.ledger.note("goes on");
                Ok(())
            };
            let outer = scene.quick("outer");
            let task = tokio::spawn(async move {
                if outer_is_a_guard {
                    let guard = outer.guard().await?;
                    let result = late.await;
                    Guard::exit(guard, result).await
                } else {
                    outer.with(async move |_| late.await).await
                }
            });
            while !scene.ledger.has("goes on") {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            scene.ledger.until("exit inner: Cancelled").await;
            let_others_run().await;
            assert_eq!(
                scene.ledger.text(),
                "entered outer, entered inner, goes on, exit inner: Cancelled"
            );
            scene.open();
            assert_eq!(task.await.expect("it does not panic"), Ok(()));
            scene.ledger.check_nesting();
            assert!(scene.ledger.has("exit outer: Completed"));
        }
    });
}

/// Polls the future on one new thread after the other: what a work-stealing runtime may do.
fn poll_on_many_threads<T: Send>(
    mut future: std::pin::Pin<Box<dyn Future<Output = T> + Send>>,
) -> T {
    loop {
        let polled = std::thread::scope(|scope| {
            let poll = || {
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                future.as_mut().poll(&mut cx)
            };
            scope.spawn(poll).join().expect("no poll panics")
        });
        if let std::task::Poll::Ready(output) = polled {
            return output;
        }
    }
}

/// Nested uses know their order by themselves, whichever thread, on whichever executor.
#[test]
fn the_order_holds_while_the_future_moves_between_threads() {
    let _stage = tests::Stage::alone();
    let scene = Arc::new(Scene::new());
    let moving = scene.clone();
    let opener = scene.clone();
    let result = poll_on_many_threads(Box::pin(async move {
        let inner = moving.clone();
        moving
            .quick("outer")
            .with(async move |_| {
                pause(1).await;
                let _first = inner.quick("first").guard().await?;
                pause(1).await;
                let second = inner.slow("second").guard().await?;
                pause(1).await;
                drop(second);
                pause(1).await;
                opener.open();
                Ok(())
            })
            .await
    }));
    assert_eq!(result, Ok(()));
    detached::drain_blocking(Duration::from_secs(60));
    scene.ledger.check_nesting();
    assert!(scene.ledger.has("exited outer"));
}

/// Guards of a task keep their order when it wakes up on another worker.
#[test]
fn guards_of_a_task_keep_their_order_on_another_worker() {
    let _stage = tests::Stage::alone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system has a runtime for us");
    runtime.block_on(async {
        for _ in 0..200 {
            let scene = Arc::new(Scene::new());
            let inside = scene.clone();
            let (entered, both) = tokio::sync::oneshot::channel();
            let task = tokio::spawn(async move {
                let _first = inside.quick("first").guard().await?;
                // Off this worker, if another one is idle.
                tokio::task::yield_now().await;
                let _second = inside.slow("second").guard().await?;
                let _ = entered.send(());
                forever().await
            });
            both.await.expect("the task gets there");
            task.abort();
            assert!(task.await.is_err());
            pause(3).await;
            scene.open();
            detached::drain().await;
            scene.ledger.check_nesting();
        }
    });
}

#[test]
fn siblings_of_a_join_do_not_wait_for_each_other() {
    on_current_thread(async |_| {
        let scene = Scene::new();
        let stuck = async {
            let body = scene.slow("stuck").with(async |_| forever().await);
            assert!(timeout(Duration::from_secs(1), body).await.is_err());
        };
        let free = scene.quick("free").with(async |_| {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(())
        });
        let (result, ()) = futures::join!(free, stuck);
        assert_eq!(result, Ok(()));
        assert!(scene.ledger.has("exited free") && !scene.ledger.has("exited stuck"));
        scene.open();
        detached::drain().await;
    });
}

#[test]
fn siblings_of_a_join_that_are_dropped_together_do_not_wait_for_each_other() {
    everywhere(async |_| {
        let scene = Scene::new();
        let both = async {
            futures::join!(
                scene.slow("stuck").with(async |_| forever().await),
                scene.quick("free").with(async |_| forever().await),
            )
        };
        assert!(poll_times(both, 4).await.is_none());
        let_others_run().await;
        scene.ledger.until("exited free").await;
        assert!(!scene.ledger.has("exited stuck"));
        scene.open();
        detached::drain().await;
    });
}

#[test]
fn other_tasks_do_not_wait() {
    everywhere(async |_| {
        let scene = Arc::new(Scene::new());
        let guard = scene.quick("mine").guard().await.expect("it opens");
        let theirs = scene.slow("theirs");
        let task = tokio::spawn(async move { drop(theirs.guard().await) });
        task.await.expect("it does not panic");
        assert_eq!(
            Guard::close(guard).await,
            Ok(()),
            "while the other exit is stuck"
        );
        assert!(!scene.ledger.has("exited theirs"));
        scene.open();
        detached::drain().await;
    });
}

/// Entered later, but after the guard's end: not inside it.
#[test]
fn an_exit_does_not_wait_for_what_was_entered_after_its_own_end() {
    everywhere(async |_| {
        let scene = Scene::new();
        drop(scene.quick("earlier").guard().await);
        drop(scene.slow("later").guard().await);
        scene.ledger.until("exited earlier").await;
        assert!(!scene.ledger.has("exited later"));
        scene.open();
        detached::drain().await;
    });
}

/// A context's own exit gives up on another context: the one around both waits for that.
#[test]
fn what_an_exit_leaves_behind_is_waited_for_by_the_context_around_it() {
    #[async_context]
    async fn careless(scene: Arc<Scene>) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        drop(scene.slow("left behind").guard().await);
        Ok(())
    }

    everywhere(async |_| {
        let scene = Arc::new(Scene::new());
        let inside = scene.clone();
        let task = tokio::spawn(scene.quick("around").with(async move |_| {
            careless(inside.clone()).with(async |()| Ok(())).await?;
            inside.ledger.note("careless has ended");
            Ok(())
        }));
        scene.ledger.until("exit left behind: Cancelled").await;
        let_others_run().await;
        assert!(scene.ledger.has("careless has ended"));
        assert!(!scene.ledger.has("exit around: Completed"));
        scene.open();
        assert_eq!(task.await.expect("it does not panic"), Ok(()));
        scene.ledger.check_nesting();
    });
}

/// A guard that leaves the body it was entered in is still inside the contexts around that one.
#[test]
fn a_guard_that_outlives_the_context_it_was_entered_in_is_exited_before_the_next_one_out() {
    everywhere(async |_| {
        let scene = Scene::new();
        let program = scene.quick("around").with(async |_| {
            let escaped = scene
                .quick("left")
                .with(async |_| scene.slow("escaped").guard().await)
                .await?;
            let result = forever().await;
            drop(escaped);
            result
        });
        assert_eq!(poll_times(program, 8).await, None);
        scene.ledger.until("exit escaped: Cancelled").await;
        let_others_run().await;
        assert!(
            !scene.ledger.has("exit around: Cancelled"),
            "{}",
            scene.ledger.text()
        );
        scene.open();
        detached::drain().await;
        assert!(scene.ledger.has("exited around"));
    });
}

#[test]
fn a_context_given_up_in_enter_is_over_before_the_one_around_it_exits() {
    #[async_context]
    async fn slow_enter(ledger: Ledger, gate: Arc<Semaphore>) -> Result<(), Fault> {
        let permit = gate.acquire().await;
        permit.expect("the gate stays open").forget();
        ledger.note("entered inner");
        let ((), outcome) = yield_!(());
        ledger.note(format!("exit inner: {outcome:?}"));
        ledger.note("exited inner");
        Ok(())
    }

    everywhere(async |_| {
        let scene = Scene::new();
        let nested = scene.quick("outer").with(async |_| {
            slow_enter(scene.ledger.clone(), scene.gate.clone())
                .with(async |()| Ok(()))
                .await
        });
        assert_eq!(poll_times(nested, 4).await, None);
        let_others_run().await;
        assert_eq!(scene.ledger.text(), "entered outer");
        scene.open();
        detached::drain().await;
        scene.ledger.check_nesting();
        assert!(scene.ledger.has("exit inner: Cancelled"));
    });
}

/// Regression: a guard that a body holds saw only what was entered where it was entered itself.
#[test]
fn a_guard_moved_into_a_body_waits_for_what_is_given_up_in_that_body() {
    everywhere(async |_| {
        let scene = Scene::new();
        let function = async {
            let guard = scene.quick("guard").guard().await?;
            let body = scene.quick("around").with(async |_| {
                let _moved = guard;
                let _inner = scene.slow("inner").guard().await?;
                forever().await
            });
            body.await
        };
        assert_eq!(poll_times(function, 6).await, None);
        scene.ledger.until("exit inner: Cancelled").await;
        let_others_run().await;
        assert!(
            !scene.ledger.has("exit guard: Cancelled"),
            "{}",
            scene.ledger.text()
        );
        scene.open();
        detached::drain().await;
        assert_eq!(scene.ledger.count("exited"), 3);
    });
}

/// Regression: the same where the guard is closed in the body, after something there timed out.
#[test]
fn a_guard_closed_in_another_body_waits_for_what_timed_out_there() {
    on_current_thread(async |_| {
        let scene = Scene::new();
        let guard = scene.quick("guard").guard().await.expect("it opens");
        let result = scene.quick("around").with(async |_| {
            let late = scene.slow("late").with(async |_| forever().await);
            assert!(timeout(Duration::from_secs(1), late).await.is_err());
            let close = Guard::close(guard);
            let (closed, ()) = futures::join!(close, async {
                let_others_run().await;
                assert!(!scene.ledger.has("exit guard: Completed"));
                scene.open();
            });
            closed
        });
        assert_eq!(result.await, Ok(()));
        let lines = scene.ledger.lines();
        let at = |line| lines.iter().position(|known| known == line);
        assert!(at("exited late") < at("exit guard: Completed"), "{lines:?}");
    });
}

#[test]
fn a_guard_closed_in_another_body_waits_for_what_was_given_up_before_that_one() {
    everywhere(async |_| {
        for something_is_inside in [false, true] {
            let scene = Scene::new();
            let guard = scene.quick("guard").guard().await.expect("it opens");
            let late = scene.slow("late").with(async |_| forever().await);
            assert_eq!(poll_times(late, 2).await, None);
            let result = scene.quick("around").with(async |_| {
                if something_is_inside {
                    scene.quick("inside").with(async |_| Ok(())).await?;
                }
                let (closed, ()) = futures::join!(Guard::close(guard), async {
                    let_others_run().await;
                    assert!(!scene.ledger.has("exit guard: Completed"));
                    scene.open();
                });
                closed
            });
            assert_eq!(result.await, Ok(()));
            assert!(scene.ledger.has("exited late"));
        }
    });
}

#[test]
fn a_guard_inside_a_context_does_not_wait_for_what_is_beside_that_context() {
    everywhere(async |_| {
        let scene = Scene::new();
        let around = scene.quick("around").with(async |_| {
            let guard = scene.quick("guard").guard().await?;
            scene.ledger.until("exit beside: Cancelled").await;
            Guard::close(guard).await
        });
        let beside = async {
            scene.ledger.until("entered guard").await;
            let used = scene.slow("beside").with(async |_| forever().await);
            assert_eq!(poll_times(used, 2).await, None);
            scene.ledger.until("exit beside: Cancelled").await;
            let_others_run().await;
            assert!(scene.ledger.has("exited around"));
            scene.open();
        };
        let (result, ()) = futures::join!(around, beside);
        assert_eq!(result, Ok(()));
    });
}

/// Regression: the guard's exit waited for the exit that waited for it.
#[test]
fn an_exit_in_the_background_can_close_a_guard_that_was_entered_before_it() {
    #[async_context]
    async fn session(
        scene: Arc<Scene>,
        held: Guard<BoxContext<&'static str, Fault>>,
    ) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        scene.ledger.note("exit session");
        Guard::close(held).await?;
        scene.ledger.note("exited session");
        Ok(())
    }

    everywhere(async |_| {
        for guard_in_between in [false, true] {
            let scene = Arc::new(Scene::new());
            let function = async {
                let held = scene.quick("held").boxed().guard().await?;
                // This one waits for the session, and the session's exit must not wait for it.
                let mut between = None;
                if guard_in_between {
                    between = Some(scene.quick("between").guard().await?);
                }
                let result = session(scene.clone(), held).with(async |()| forever().await);
                let result = result.await;
                drop(between);
                result
            };
            assert_eq!(poll_times(function, 6).await, None);
            detached::drain().await;
            assert!(scene.ledger.has("exited held") && scene.ledger.has("exited session"));
            if guard_in_between {
                assert!(
                    scene
                        .ledger
                        .text()
                        .ends_with("exited session, exit between: Cancelled, exited between")
                );
            }
        }
    });
}

/// Regression: an exit that is handed over waited again for what it had given up itself.
#[test]
fn an_exit_that_has_begun_goes_on_when_its_caller_drops_it() {
    #[async_context]
    async fn stubborn(wait: tokio::sync::oneshot::Receiver<()>) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        let _ = wait.await;
        Ok(())
    }

    #[async_context]
    async fn outer(ledger: Ledger) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        let (send, wait) = tokio::sync::oneshot::channel();
        drop(stubborn(wait).guard().await);
        ledger.note("gave up");
        pause(5).await;
        let _ = send.send(());
        ledger.note("exited");
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let future = outer(ledger.clone()).with(async |()| Ok(()));
        assert_eq!(poll_times(future, 2).await, None);
        detached::drain().await;
        assert_eq!(ledger.text(), "gave up, exited");
    });
}

/// Regression: by hand, a generator is like a guard.
#[test]
fn a_generator_driven_by_hand_waits_for_what_was_entered_after_it() {
    on_current_thread(async |_| {
        let scene = Scene::new();
        let mut context = scene.quick("by hand");
        let value = context.enter().await.expect("it opens");
        let late = scene.slow("late").with(async |_| forever().await);
        assert!(timeout(Duration::from_secs(1), late).await.is_err());
        let exit = context.exit(value, &Outcome::Completed);
        let (result, ()) = futures::join!(exit, async {
            let_others_run().await;
            scene.open();
        });
        assert_eq!(result, Ok(()));
        scene.ledger.check_nesting();
    });
}

/// Regression: what another task of a `LocalSet` gave up counted as inside of the body that ran it.
#[test]
fn a_body_that_runs_a_local_set_does_not_wait_for_its_tasks() {
    on_current_thread(async |_| {
        let scene = std::rc::Rc::new(Scene::new());
        let local = tokio::task::LocalSet::new();
        let theirs = scene.slow("theirs");
        local.spawn_local(async move { drop(theirs.guard().await) });
        let mine = scene.quick("mine");
        let result = mine.with_local(async |_| Ok(local.run_until(let_others_run()).await));
        assert_eq!(result.await, Ok(()));
        assert!(scene.ledger.has("exit theirs: Cancelled") && !scene.ledger.has("exited theirs"));
        scene.open();
        detached::drain().await;
    });
}

/// What the docs of `Guard` say of the order in which a collection drops.
#[test]
fn guards_in_a_vec_exit_in_the_order_in_which_they_drop() {
    on_current_thread(async |_| {
        let scene = Scene::new();
        let mut guards = Vec::new();
        for name in ["first", "second"] {
            guards.push(scene.quick(name).guard().await.expect("it opens"));
        }
        drop(guards);
        detached::drain().await;
        assert!(scene.ledger.text().ends_with(
            "exit first: Cancelled, exited first, exit second: Cancelled, exited second"
        ));
    });
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn a_guard_and_a_context_that_ends_before_something_is_given_up() {
    on_current_thread(async |_| {
        let scene = Scene::new();
        let guard = scene.quick("guard").guard().await.expect("it opens");
        assert_eq!(scene.quick("ends").with(async |_| Ok(())).await, Ok(()));
        let late = scene.slow("late").with(async |_| forever().await);
        assert_eq!(poll_times(late, 2).await, None);
        let (closed, ()) = futures::join!(Guard::close(guard), async {
            let_others_run().await;
            scene.open();
        });
        assert_eq!(closed, Ok(()));
        scene.ledger.check_nesting();
    });
}

/// How many guards there are is counted for the whole process, with those of other tests.
#[test]
fn a_guard_counts_as_one_until_it_ends_and_no_other_context_does() {
    let test = "order::a_guard_and_a_context_that_ends_before_something_is_given_up";
    assert_eq!(in_a_process_of_its_own(test), "");
}
