//! Programs that try to make what runs beside a body hang, leak, or lose an error.

use std::future::pending;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use async_context_manager::report::Kind;
use async_context_manager::{TimeoutError, detached, prelude::*};
use futures::FutureExt;
use tests::{
    Fault, Ledger, Stage, cancel_at_every_poll, everywhere, on_current_thread, pause, poll_times,
};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// It notes its exit, and fails beside its body when the channel says so.
#[async_context(struct = Leased)]
async fn leased(
    ledger: Ledger,
    name: &'static str,
    lost: Option<oneshot::Receiver<()>>,
) -> Result<u32, Fault> {
    let beside = async {
        match lost {
            Some(lost) => {
                let _ = lost.await;
                Err(Fault("lost"))
            }
            None => pending().await,
        }
    };
    let (_, outcome) = yield_!(1, beside);
    ledger.note(format!("{name} begins: {outcome:?}"));
    pause(3).await;
    ledger.note(format!("{name} ends"));
    Ok(())
}

/// Its exit closes the guard that it owns, in a task or by itself.
#[async_context]
async fn owner(ledger: Ledger, guard: Guard<Leased>, in_a_task: bool) -> Result<(), Fault> {
    yield_!((), pending());
    pause(2).await;
    if in_a_task {
        tokio::spawn(Guard::close(guard)).await.expect("no panic")?;
    } else {
        Guard::close(guard).await?;
    }
    ledger.note("owner ends");
    Ok(())
}

async fn first(context: Leased) -> Guard<Leased> {
    context.guard().await.expect("it opens")
}

#[test]
fn exits_that_own_guards_with_something_beside_end() {
    everywhere(async |stage| {
        for in_a_task in [false, true] {
            let ledger = Ledger::default();
            let one = first(leased(ledger.clone(), "one", None)).await;
            let two = first(leased(ledger.clone(), "two", None)).await;
            // Crosswise: the younger owner has the older guard.
            let three = owner(ledger.clone(), two, in_a_task).guard().await;
            let four = owner(ledger.clone(), one, in_a_task).guard().await;
            drop(three.expect("it opens"));
            drop(four.expect("it opens"));
            detached::drain().await;
            assert_eq!(ledger.count("owner ends"), 2);
            assert_eq!((ledger.count("one ends"), ledger.count("two ends")), (1, 1));
            assert_eq!(stage.reports(), []);
        }
    });
}

#[test]
fn a_context_inside_of_a_guard_with_something_beside_is_waited_for() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let guard = first(leased(ledger.clone(), "outer", None)).await;
        let inner = leased(ledger.clone(), "inner", None).inside(&guard);
        let inner = tokio::spawn(async { inner.guard().await.expect("it opens") });
        drop(inner.await.expect("no panic"));
        assert_eq!(Guard::close(guard).await, Ok(()));
        assert_eq!(
            ledger.lines(),
            [
                "inner begins: Cancelled",
                "inner ends",
                "outer begins: Completed",
                "outer ends"
            ]
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn guards_with_something_beside_exit_in_the_reverse_order_of_their_age() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let one = first(leased(ledger.clone(), "one", None)).await;
        let two = first(leased(ledger.clone(), "two", None)).await;
        drop(two);
        drop(one);
        detached::drain().await;
        assert_eq!(
            ledger.lines(),
            [
                "two begins: Cancelled",
                "two ends",
                "one begins: Cancelled",
                "one ends"
            ]
        );
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn without_tokio_a_guard_has_its_beside_run_by_the_thread_of_the_crate() {
    let stage = Stage::alone();
    let ledger = Ledger::default();
    futures::executor::block_on(async {
        let (lose, end) = oneshot::channel();
        let guard = first(leased(ledger.clone(), "one", Some(end))).await;
        lose.send(()).expect("somebody listens");
        Guard::ended(&guard).await;
        assert_eq!(Guard::close(guard).await, Err(Fault("lost")));
        drop(first(leased(ledger.clone(), "two", None)).await);
        detached::drain().await;
    });
    assert!(ledger.has("two ends"));
    assert_eq!(stage.reports(), []);
}

#[test]
fn a_guard_outlives_the_runtime_that_it_was_entered_on() {
    let stage = Stage::alone();
    let ledger = Ledger::default();
    let runtime = Builder::new_multi_thread().worker_threads(1).build();
    let runtime = runtime.expect("it starts");
    let (lose, end) = oneshot::channel();
    let guard = runtime.block_on(first(leased(ledger.clone(), "one", Some(end))));
    drop(runtime);
    // Whoever runs what is beside now: it goes on.
    lose.send(()).expect("it is still there");
    futures::executor::block_on(Guard::ended(&guard));
    let closed = futures::executor::block_on(Guard::close(guard));
    assert_eq!(closed, Err(Fault("lost")));
    assert!(ledger.has("one ends"));
    assert_eq!(stage.reports(), []);
}

#[test]
fn an_exit_that_is_cut_off_leaves_nothing_of_what_ran_beside() {
    on_current_thread(async |stage| {
        #[async_context]
        async fn hangs(ledger: Ledger) -> Result<(), Fault> {
            struct Note(Ledger);
            impl Drop for Note {
                fn drop(&mut self) {
                    self.0.note("beside has dropped");
                }
            }
            let noted = ledger.clone();
            yield_!((), async move {
                let _note = Note(noted);
                pending().await
            });
            pending().await
        }
        let ledger = Ledger::default();
        let guard = hangs(ledger.clone()).exit_timeout(SECOND).guard().await;
        let closed = Guard::close(guard.expect("it opens")).await;
        assert!(closed.is_err_and(|error: TimeoutError<_>| error.is_elapsed()));
        assert_eq!(ledger.lines(), ["beside has dropped"]);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_part_of_the_body_that_is_given_up_leaves_the_guard_as_it_was() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let (lose, end) = oneshot::channel();
        let mut guard = first(leased(ledger.clone(), "one", Some(end))).await;
        let part = Guard::run(&mut guard, async |_| pending::<Result<(), _>>().await);
        assert!(poll_times(part, 3).await.is_none());
        assert_eq!(
            Guard::run(&mut guard, async |value| Ok(*value)).await,
            Ok(1)
        );
        lose.send(()).expect("somebody listens");
        let ended = Guard::run(&mut guard, async |_| pending::<Result<(), _>>().await).await;
        assert_eq!(ended, Err(Fault("lost")));
        // Given out: an exit as completed is one.
        assert_eq!(Guard::close(guard).await, Ok(()));
        assert!(ledger.has("one begins: Completed"));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_guard_with_something_beside_can_be_dropped_at_every_poll() {
    everywhere(async |stage| {
        for is_lost in [false, true] {
            let program = async |ledger: Ledger| {
                let (lose, end) = oneshot::channel();
                let mut guard = leased(ledger.clone(), "one", Some(end)).guard().await?;
                let part = async |_: &mut u32| {
                    if is_lost {
                        lose.send(()).expect("somebody listens");
                        return pending().await;
                    }
                    pause(2).await;
                    Ok(lose)
                };
                let ended = Guard::run(&mut guard, part).await;
                Guard::exit(guard, ended.map(|_lose| ())).await
            };
            cancel_at_every_poll(stage, program, |_, ended, ledger| {
                let begun = ledger
                    .lines()
                    .iter()
                    .filter(|it| it.contains("begins"))
                    .count();
                assert_eq!(begun, ledger.count("one ends"));
                let told = stage.reports();
                let lost = usize::from(ended == Some(Err(Fault("lost"))));
                assert!(told.len() + lost <= 1, "{told:?}");
            })
            .await;
        }
    });
}

#[test]
fn a_panic_beside_a_guard_goes_on_when_its_exit_has_run() {
    everywhere(async |stage| {
        #[async_context]
        async fn panics(ledger: Ledger) -> Result<(), Fault> {
            let ((), outcome) = yield_!((), async { resume_unwind(Box::new("beside")) });
            ledger.note(format!("exit: {outcome:?}"));
            Ok(())
        }
        let ledger = Ledger::default();
        let guard = panics(ledger.clone()).guard().await.expect("it opens");
        Guard::ended(&guard).await;
        let closed = AssertUnwindSafe(Guard::close(guard)).catch_unwind().await;
        let payload = closed.expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"beside"));
        assert_eq!(ledger.lines(), ["exit: Panicked(BodyPanic(\"beside\"))"]);
        assert_eq!(stage.reports(), []);

        let guard = panics(ledger.clone()).guard().await.expect("it opens");
        Guard::ended(&guard).await;
        drop(guard);
        detached::drain().await;
        assert_eq!(stage.reports(), [(Kind::Panicked, "beside".to_owned())]);
    });
}

#[test]
fn an_error_from_beside_that_panics_on_its_way_is_a_panic_of_the_body() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let (lose, end) = oneshot::channel();
        let used = leased(ledger.clone(), "one", Some(end))
            .map_err(|_| -> Fault { resume_unwind(Box::new("map")) })
            .with(async |_| {
                lose.send(()).expect("somebody listens");
                pending::<Result<(), Fault>>().await
            });
        let payload = AssertUnwindSafe(used)
            .catch_unwind()
            .await
            .expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"map"));
        assert!(ledger.has("one begins: Panicked(BodyPanic(\"map\"))"));
        assert!(ledger.has("one ends"));
        assert_eq!(stage.reports(), []);
    });
}

/// An enter in the background that comes to an await that may be given up, after another context.
#[async_context]
async fn waits_its_turn(ledger: Ledger) -> Result<(), Fault> {
    loop {
        let looked = leased(ledger.clone(), "look", None).with(async |_| {
            pause(2).await;
            Ok(false)
        });
        if looked.await? {
            break;
        }
        cancellable!(sleep(HOUR)).await;
    }
    yield_!(());
    ledger.note("entered");
    Ok(())
}

#[test]
fn an_enter_that_comes_to_an_await_that_may_be_given_up_when_its_caller_has_left_ends_there() {
    on_current_thread(async |stage| {
        let begun = Instant::now();
        for polls in 1..12 {
            let ledger = Ledger::default();
            let plain = waits_its_turn(ledger.clone()).with(async |()| Ok(()));
            assert!(poll_times(plain, polls).await.is_none());
            let maybe = Some(waits_its_turn(ledger.clone())).with(async |_| Ok(()));
            assert!(poll_times(maybe, polls).await.is_none());
            let boxed = waits_its_turn(ledger.clone())
                .boxed()
                .with(async |()| Ok(()));
            assert!(poll_times(boxed, polls).await.is_none());
            let waited = timeout(SECOND, detached::drain()).await;
            assert!(waited.is_ok(), "after {polls} polls");
            assert!(!ledger.has("entered"));
        }
        assert!(begun.elapsed() < HOUR);
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn an_exit_that_fails_after_a_panic_beside_is_reported_whichever_way_the_guard_ends() {
    #[async_context]
    async fn panics_beside(exit: Result<(), &'static str>) -> Result<(), Fault> {
        yield_!((), async { resume_unwind(Box::new("beside")) });
        match exit {
            Ok(()) => Err(Fault("exit")),
            Err(panic) => resume_unwind(Box::new(panic)),
        }
    }

    everywhere(async |stage| {
        for (exit, told) in [
            (Ok(()), (Kind::ExitFailed, "Fault(\"exit\")")),
            (Err("exit"), (Kind::Panicked, "exit")),
        ] {
            for passes_on in [false, true] {
                let guard = panics_beside(exit).guard().await.expect("it opens");
                Guard::ended(&guard).await;
                let ended = if passes_on {
                    let exit = Guard::exit_as(guard, &Outcome::Completed);
                    AssertUnwindSafe(exit).catch_unwind().await
                } else {
                    AssertUnwindSafe(Guard::close(guard)).catch_unwind().await
                };
                let payload = ended.expect_err("it panics");
                assert_eq!(payload.downcast_ref(), Some(&"beside"));
                assert_eq!(stage.reports(), [(told.0, told.1.to_owned())]);
            }
        }
    });
}
