//! Where detached exits run: on their own runtime, without one, and when it shuts down under them.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{detached, prelude::*};
use futures::executor::block_on;
use tests::{
    ByHand, End, Fault, Ledger, Script, Stage, cancel_at_every_poll, generated, on_current_thread,
    pause, poll_times,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, oneshot};

const LONG: Duration = Duration::from_secs(60);

fn current_thread() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has a runtime for us")
}

fn multi_thread() -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("the system has a runtime for us")
}

/// Notes which runtime its exit runs on.
#[async_context]
async fn at_home(ledger: Ledger) -> Result<(), Fault> {
    let home = Handle::try_current().ok().map(|runtime| runtime.id());
    let ((), _) = yield_!(());
    pause(2).await;
    let here = Handle::try_current().ok().map(|runtime| runtime.id());
    ledger.note(if home == here { "home" } else { "elsewhere" });
    Ok(())
}

#[test]
fn a_detached_exit_runs_on_the_runtime_that_its_context_was_entered_on() {
    let _stage = Stage::alone();
    let ledger = Ledger::default();
    let (home, other) = (multi_thread(), current_thread());
    let guard = home.block_on(at_home(ledger.clone()).guard());
    other.block_on(async { drop(guard) });
    assert_eq!(detached::drain_blocking(LONG), 0);
    let guard = home.block_on(at_home(ledger.clone()).guard());
    drop(guard);
    assert_eq!(detached::drain_blocking(LONG), 0);
    assert_eq!(ledger.text(), "home, home");
}

#[test]
fn without_a_tokio_runtime_everything_but_tokio_s_own_works() {
    let _stage = Stage::alone();
    let ledger = Ledger::default();
    let result = block_on(generated(Script::new("c", &ledger)).with(async |name| {
        pause(2).await;
        Ok(name.len())
    }));
    assert_eq!(result, Ok(1));
    ledger.check_nesting();
}

#[test]
fn without_a_tokio_runtime_a_detached_exit_runs_on_the_thread_of_the_crate() {
    #[async_context]
    async fn curious(send: oneshot::Sender<(Option<String>, bool)>) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        tokio::time::sleep(Duration::from_millis(1)).await;
        let thread = thread::current().name().map(ToOwned::to_owned);
        let _ = send.send((thread, Handle::try_current().is_ok()));
        Ok(())
    }

    let _stage = Stage::alone();
    let (send, seen) = oneshot::channel();
    block_on(poll_times(
        curious(send).with(async |()| pending::<Result<(), Fault>>().await),
        3,
    ));
    assert_eq!(detached::drain_blocking(LONG), 0);
    let expected = (Some("async-context-manager".to_owned()), true);
    assert_eq!(block_on(seen), Ok(expected));
}

async fn nested<C>(ledger: Ledger, make: impl Fn(Script) -> C + Send + Sync) -> Result<(), Fault>
where
    C: AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + 'static,
{
    let script = |name| Script::new(name, &ledger);
    make(script("outer"))
        .with(async |_| {
            let first = make(script("first")).guard().await?;
            let second = make(script("second")).guard().await?;
            pause(1).await;
            Guard::close(second).await?;
            Guard::close(first).await
        })
        .await
}

#[test]
fn without_a_tokio_runtime_contexts_dropped_at_every_poll_are_exited_once_in_order() {
    let stage = Stage::alone();
    block_on(async {
        let check = |_, _: Option<_>, ledger: &Ledger| {
            ledger.check_nesting();
            assert_eq!(ledger.count("entered"), ledger.count("exited"));
        };
        let program = async |ledger| nested(ledger, generated).await;
        cancel_at_every_poll(&stage, program, check).await;
        let program = async |ledger| nested(ledger, ByHand::<()>::new).await;
        cancel_at_every_poll(&stage, program, check).await;
    });
}

/// The program is polled so many times in a task, and then its runtime shuts down.
fn shut_down_after<C>(
    runtime: Runtime,
    polls: usize,
    ledger: &Ledger,
    make: impl Fn(Script) -> C + Send + Sync + 'static,
) -> bool
where
    C: AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + 'static,
{
    let ended = Arc::new(AtomicBool::new(false));
    let (program, tell) = (ledger.clone(), ended.clone());
    let (stopped, stops) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let mut program = std::pin::pin!(nested(program, make));
        for _ in 0..polls {
            if futures::poll!(&mut program).is_ready() {
                tell.store(true, Ordering::Relaxed);
                break;
            }
        }
        let _ = stopped.send(());
        pending::<()>().await;
    });
    // A current-thread runtime runs only while it is driven.
    runtime.block_on(async {
        while stops.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    });
    drop(runtime);
    assert_eq!(detached::drain_blocking(LONG), 0);
    ended.load(Ordering::Relaxed)
}

fn shut_down_after_every_poll<C>(make: impl Fn(Script) -> C + Copy + Send + Sync + 'static)
where
    C: AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + 'static,
{
    let _stage = Stage::alone();
    for runtime in [current_thread as fn() -> Runtime, multi_thread] {
        for polls in 0.. {
            let ledger = Ledger::default();
            let ended = shut_down_after(runtime(), polls, &ledger, make);
            ledger.check_nesting();
            assert_eq!(ledger.count("entered"), ledger.count("exited"));
            if ended {
                assert!(polls > 10);
                break;
            }
        }
    }
}

#[test]
fn contexts_on_a_runtime_that_shuts_down_after_every_poll_are_exited_once_in_order() {
    shut_down_after_every_poll(generated);
}

#[test]
fn hand_written_contexts_on_a_runtime_that_shuts_down_are_exited_once_in_order() {
    shut_down_after_every_poll(ByHand::<()>::new);
}

#[test]
fn an_exit_that_was_detached_but_not_begun_when_its_runtime_shut_down_is_rescued() {
    let _stage = Stage::alone();
    let ledger = Ledger::default();
    let runtime = current_thread();
    runtime.block_on(async {
        let future = generated(Script::new("c", &ledger)).with(async |_| pending().await);
        let result: Option<Result<(), _>> = poll_times(future, 4).await;
        assert_eq!(result, None);
        // `block_on` returns, and the task that was spawned last has had no turn.
    });
    assert!(!ledger.has("exit c: cancelled"));
    drop(runtime);
    assert_eq!(detached::drain_blocking(LONG), 0);
    assert!(ledger.has("exited c"));
}

/// An exit in a timer of the old runtime can't be finished on another one. It is not silent.
#[test]
fn an_exit_that_is_bound_to_a_runtime_that_shut_down_is_reported_as_lost() {
    #[async_context]
    async fn bound(ledger: Ledger) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        ledger.note("begun");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        ledger.note("ended");
        Ok(())
    }

    let stage = Stage::alone();
    let ledger = Ledger::default();
    let runtime = current_thread();
    runtime.block_on(async {
        let future = bound(ledger.clone()).with(async |()| pending().await);
        let result: Option<Result<(), _>> = poll_times(future, 3).await;
        assert_eq!(result, None);
        ledger.until("begun").await;
    });
    drop(runtime);
    assert_eq!(detached::drain_blocking(LONG), 0);
    assert_eq!(ledger.text(), "begun");
    let kinds: Vec<Kind> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::Lost]);
}

/// The entry that hangs is given up after its own limit, and those below it have their turn then.
#[test]
fn the_entries_of_a_stack_whose_runtime_shut_down_exit_in_reverse_and_only_the_hanging_one_is_lost()
{
    let stage = Stage::alone();
    let ledger = Ledger::default();
    let runtime = current_thread();
    runtime.block_on(async {
        let stack = ExitStack::<Fault>::new();
        for (name, hangs) in [("a", false), ("b", false), ("c", true), ("d", false)] {
            let ledger = ledger.clone();
            stack.defer(async move |_: &Outcome| {
                ledger.note(format!("begins {name}"));
                if hangs {
                    pending::<()>().await;
                }
                tokio::task::yield_now().await;
                ledger.note(format!("ended {name}"));
                Ok(())
            });
        }
        drop(stack);
    });
    drop(runtime);
    assert_eq!(detached::drain_blocking(LONG), 0);
    assert_eq!(
        ledger.text(),
        "begins d, ended d, begins c, begins b, ended b, begins a, ended a"
    );
    let kinds: Vec<Kind> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::Lost]);
}

/// The outer exit waits for the inner one to be given up, and then has its turn.
#[test]
fn a_lost_exit_does_not_keep_the_outer_one_from_running() {
    let stage = Stage::alone();
    let ledger = Ledger::default();
    let runtime = multi_thread();
    let (entered, inside) = oneshot::channel();
    let program = ledger.clone();
    let never = Arc::new(Semaphore::new(0));
    let stuck = never.clone();
    runtime.spawn(async move {
        let outer = generated(Script::new("outer", &program));
        outer
            .with(async |_| {
                let inner = stuck_in_exit(program.clone(), stuck).guard().await?;
                let _ = entered.send(());
                let result = pending::<Result<(), Fault>>().await;
                drop(inner);
                result
            })
            .await
    });
    runtime.block_on(inside).expect("the task gets there");
    drop(runtime);
    assert_eq!(detached::drain_blocking(LONG), 0);
    assert_eq!(stage.reports(), [(Kind::Lost, String::new())]);
    assert!(
        ledger
            .text()
            .ends_with("inner is stuck, exit outer: cancelled, exited outer")
    );
}

#[async_context]
async fn stuck_in_exit(ledger: Ledger, never: Arc<Semaphore>) -> Result<(), Fault> {
    let ((), _) = yield_!(());
    ledger.note("inner is stuck");
    let _permit = never.acquire().await;
    Ok(())
}

#[test]
fn a_panicking_exit_in_the_background_is_reported_and_takes_nothing_else_down() {
    on_current_thread(async |stage| {
        let ledger = Ledger::default();
        let script = Script::new("c", &ledger).exit(End::Panic("q"));
        drop(generated(script).guard().await);
        detached::drain().await;
        assert_eq!(stage.reports(), [(Kind::Panicked, "q".to_owned())]);
        let result = generated(Script::new("next", &ledger))
            .with(async |_| Ok(()))
            .await;
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn drain_timeout_says_how_many_are_left() {
    on_current_thread(async |stage| {
        let gate = Arc::new(Semaphore::new(0));
        for _ in 0..3 {
            drop(stuck_in_exit(Ledger::default(), gate.clone()).guard().await);
        }
        assert_eq!(detached::count(), 3);
        assert_eq!(detached::drain_timeout(Duration::from_secs(9)).await, 3);
        assert_eq!(stage.reports(), [(Kind::Undrained, String::new())]);
        gate.add_permits(3);
        assert_eq!(detached::drain_timeout(Duration::from_secs(9)).await, 0);
        assert_eq!(detached::count(), 0);
    });
}

#[test]
fn drain_blocking_says_how_many_are_left() {
    let stage = Stage::alone();
    let gate = Arc::new(Semaphore::new(0));
    let runtime = multi_thread();
    let guard = runtime.block_on(stuck_in_exit(Ledger::default(), gate.clone()).guard());
    drop(guard);
    assert_eq!(detached::drain_blocking(Duration::from_millis(10)), 1);
    assert_eq!(stage.reports(), [(Kind::Undrained, String::new())]);
    gate.add_permits(1);
    assert_eq!(detached::drain_blocking(LONG), 0);
}

#[test]
fn drained_returns_what_its_future_returns_after_all_exits() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let result = detached::drained(async {
            drop(generated(Script::new("c", &ledger)).guard().await);
            "done"
        });
        assert_eq!(result.await, "done");
        assert!(ledger.has("exited c"));
    });
}

#[test]
fn drained_waits_for_the_exits_before_its_future_s_panic_goes_on() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let panics = detached::drained(async {
            let _guard = generated(Script::new("c", &ledger)).guard().await;
            std::panic::resume_unwind(Box::new("p"));
        });
        let panics = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(panics));
        assert!(panics.await.is_err());
        assert!(ledger.has("exited c"));
    });
}

/// The main of a program, as the docs tell to write it.
#[test]
fn a_main_that_is_stopped_by_a_select_and_drained_loses_nothing() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let app = async {
            let nested = nested(ledger.clone(), generated);
            tokio::select! {
                biased;
                result = nested => panic!("it is stopped before it ends: {result:?}"),
                () = pause(6) => {}
            }
        };
        detached::drained(app).await;
        ledger.check_nesting();
        assert!(ledger.count("entered") > 1);
    });
}

/// Many contexts in one parent, and many given up in one: they are over when they are over, and
/// take no memory with them.
#[test]
fn contexts_in_one_parent_leave_nothing_behind() {
    #[async_context]
    async fn light(open: Arc<()>) -> Result<(), Fault> {
        let ((), _) = yield_!(());
        drop(open);
        Ok(())
    }

    /// Of the process, in bytes, where the system tells it.
    fn memory() -> Option<i64> {
        let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
        let resident: i64 = pages.split(' ').nth(1)?.parse().ok()?;
        Some(resident * 4096)
    }

    on_current_thread(async |_| {
        let open = Arc::new(());
        let many = async || {
            for _ in 0..400 {
                for _ in 0..200 {
                    light(open.clone()).with(async |()| Ok(())).await?;
                }
                for _ in 0..50 {
                    drop(light(open.clone()).guard().await);
                }
                // Their turn.
                pause(2).await;
            }
            Ok(())
        };
        // With 8 bytes left of each, it would grow by 800,000 each time. What else this process
        // does may make it grow now and then.
        let result = light(Arc::new(()))
            .with(async |()| {
                many().await?;
                let mut sizes = vec![memory()];
                for _ in 0..5 {
                    many().await?;
                    sizes.push(memory());
                }
                Ok(sizes)
            })
            .await;
        let sizes = result.expect("nothing fails");
        let sizes: Option<Vec<i64>> = sizes.into_iter().collect();
        if let Some(sizes) = sizes {
            let grown = sizes.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(grown.min() < Some(500_000), "{sizes:?}");
        }
        assert_eq!(Arc::strong_count(&open), 1, "all inner exits are over");
    });
}

/// Regression: a wait that had seen the count at zero for a moment ended while an exit was running.
#[test]
fn drain_waits_for_what_is_handed_over_while_it_waits() {
    on_current_thread(async |_| {
        let gate = Arc::new(Semaphore::new(1));
        drop(stuck_in_exit(Ledger::default(), gate.clone()).guard().await);
        let mut drain = std::pin::pin!(detached::drain());
        assert!(futures::poll!(&mut drain).is_pending());
        while detached::count() > 0 {
            pause(1).await;
        }
        let gate = Arc::new(Semaphore::new(0));
        drop(stuck_in_exit(Ledger::default(), gate.clone()).guard().await);
        assert!(futures::poll!(&mut drain).is_pending());
        gate.add_permits(1);
        drain.await;
        assert_eq!(detached::count(), 0);
    });
}

/// Regression: both were given up at the same moment, and the outer exit never ran.
#[test]
fn an_exit_whose_inner_one_is_lost_has_its_own_time_after_that() {
    #[async_context]
    async fn enters_slowly(ledger: Ledger, gate: Arc<Semaphore>) -> Result<(), Fault> {
        let _permit = gate.acquire().await;
        drop(
            stuck_in_exit(ledger.clone(), Arc::new(Semaphore::new(0)))
                .guard()
                .await,
        );
        let ((), _) = yield_!(());
        ledger.note("outer has exited");
        Ok(())
    }

    let stage = Stage::alone();
    let (ledger, gate) = (Ledger::default(), Arc::new(Semaphore::new(0)));
    let runtime = current_thread();
    runtime.block_on(async {
        let enter = enters_slowly(ledger.clone(), gate.clone()).guard();
        assert!(poll_times(enter, 1).await.is_none());
        gate.add_permits(1);
        ledger.until("inner is stuck").await;
    });
    drop(runtime);
    assert_eq!(detached::drain_blocking(LONG), 0);
    assert_eq!(stage.reports(), [(Kind::Lost, String::new())]);
    assert!(ledger.has("outer has exited"));
}

#[test]
fn a_program_is_drained_though_its_future_panics_as_it_drops() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            resume_unwind(Box::new("the drop"));
        }
    }

    let stage = Stage::alone();
    let ledger = Ledger::default();
    let runtime = Builder::new_current_thread().build().expect("there is one");
    let context = generated(Script::new("a", &ledger));
    let mut app = Box::pin(async { context.guard().await.map(drop) });
    let bomb = Bomb;
    let app = poll_fn(move |cx| {
        let _its = &bomb;
        app.as_mut().poll(cx)
    });
    let run = AssertUnwindSafe(|| runtime.block_on(detached::drained(app)).is_ok());
    let payload = catch_unwind(run).expect_err("the panic goes on");
    assert_eq!(payload.downcast_ref(), Some(&"the drop"));
    assert_eq!(detached::count(), 0);
    assert_eq!(stage.reports(), []);
}
