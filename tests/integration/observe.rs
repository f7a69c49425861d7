//! What an observer is told, and when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_context_manager::observe::{self, Counters, Counts, Event, Step};
use async_context_manager::{Either, detached, join, report};
use async_context_manager::{contexts::ready, prelude::*};
use tests::Stage;
use tokio::runtime::Builder;
use tokio::time::sleep;

/// One second in enter, three in exit.
#[async_context]
async fn slow(exit: Result<(), &'static str>) -> Result<(), &'static str> {
    sleep(Duration::from_secs(1)).await;
    let ((), _) = yield_!(());
    sleep(Duration::from_secs(3)).await;
    exit
}

#[async_context]
async fn closed() -> Result<(), &'static str> {
    let opened: Result<(), _> = Err("enter");
    opened?;
    let ((), _) = yield_!(());
    Ok(())
}

#[async_context]
async fn waiting() -> Result<(), &'static str> {
    cancellable!(std::future::pending::<()>()).await;
    let ((), _) = yield_!(());
    Ok(())
}

/// Runs the program on a paused clock, and gives what the observer was told of the contexts above.
fn told(program: impl AsyncFnOnce()) -> Vec<String> {
    let stage = Stage::alone();
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&events);
    observe::set_observer(move |event| {
        if event.context.contains("::observe::") {
            log.lock().expect("no observer panics").push(line(event));
        }
    });
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        program().await;
        detached::drain().await;
    });
    observe::reset_observer();
    drop(stage.reports());
    let events = events.lock().expect("no observer panics");
    events.clone()
}

fn line(event: &Event<'_>) -> String {
    let step = match &event.step {
        Step::Entered { after, .. } => format!("entered after {after:?}"),
        Step::NotEntered => "not entered".to_owned(),
        Step::Detached => "detached".to_owned(),
        Step::Exited {
            outcome,
            exit_failed,
            detached,
            body,
            exit,
            ..
        } => {
            let failed = if *exit_failed { ", failed" } else { "" };
            let detached = if *detached { ", detached" } else { "" };
            format!("exited after {outcome:?}, {body:?}, {exit:?}{failed}{detached}")
        }
        Step::Lost => "lost".to_owned(),
        other => format!("{other:?}"),
    };
    let name = event.context.rsplit("::").next();
    format!("{}: {step}", name.unwrap_or_default())
}

async fn two_seconds((): &mut ()) -> Result<(), &'static str> {
    sleep(Duration::from_secs(2)).await;
    Ok(())
}

async fn fails_hard((): &mut ()) -> Result<(), &'static str> {
    panic!("body")
}

#[test]
fn each_step_is_told_with_the_time_that_it_took() {
    let told = told(async || slow(Ok(())).with(two_seconds).await.expect("it ends well"));
    assert_eq!(
        told,
        [
            "slow: entered after 1s",
            "slow: exited after Completed, 2s, 3s"
        ]
    );
}

#[test]
fn an_exit_is_told_with_how_the_body_ended() {
    let told = told(async || {
        let _ = slow(Ok(())).with(async |()| Err::<(), _>("body")).await;
        let panics = tokio::spawn(slow(Ok(())).with(fails_hard));
        assert!(panics.await.is_err());
    });
    assert_eq!(told[1], "slow: exited after Failed(\"body\"), 0ns, 3s");
    assert_eq!(
        told[3],
        "slow: exited after Panicked(BodyPanic(\"body\")), 0ns, 3s"
    );
    assert_eq!(told.len(), 4);
}

#[test]
fn a_failing_exit_is_told_as_such() {
    let told = told(async || {
        let result = slow(Err("exit")).with(two_seconds).await;
        assert_eq!(result, Err("exit"));
    });
    assert_eq!(told[1], "slow: exited after Completed, 2s, 3s, failed");
}

#[test]
fn an_exit_that_panics_is_told_as_failing() {
    #[async_context]
    async fn broken() -> Result<(), &'static str> {
        let ((), _) = yield_!(());
        panic!("exit")
    }

    let told = told(async || {
        let panics = tokio::spawn(broken().with(two_seconds));
        assert!(panics.await.is_err());
        let guard = broken().guard().await;
        drop(guard.expect("it enters"));
    });
    assert_eq!(
        told,
        [
            "broken: entered after 0ns",
            "broken: exited after Completed, 2s, 0ns, failed",
            "broken: entered after 0ns",
            "broken: detached",
            "broken: exited after Cancelled, 0ns, 0ns, failed, detached",
        ]
    );
}

#[test]
fn nothing_is_told_after_the_reset_also_of_a_context_that_was_entered_before() {
    let told = told(async || {
        let guard = slow(Ok(())).guard().await.expect("it enters");
        observe::reset_observer();
        Guard::close(guard).await.expect("it exits");
        slow(Ok(())).with(two_seconds).await.expect("it ends well");
    });
    assert_eq!(told, ["slow: entered after 1s"]);
}

#[test]
fn a_context_that_goes_on_in_the_background_is_told_twice() {
    let told = told(async || {
        let used = slow(Ok(())).with(two_seconds);
        let limit = Duration::from_millis(1500);
        assert!(tokio::time::timeout(limit, used).await.is_err());
    });
    assert_eq!(
        told,
        [
            "slow: entered after 1s",
            "slow: detached",
            "slow: exited after Cancelled, 500ms, 3s, detached"
        ]
    );
}

#[test]
fn what_never_entered_is_told_as_not_entered() {
    let told = told(async || {
        assert_eq!(closed().with(two_seconds).await, Err("enter"));
        let used = waiting().with(two_seconds);
        let limit = Duration::from_secs(1);
        assert!(tokio::time::timeout(limit, used).await.is_err());
    });
    assert_eq!(told, ["closed: not entered", "waiting: not entered"]);
}

#[test]
fn what_can_not_exit_is_told_as_lost() {
    let told = told(async || {
        let used = slow(Ok(())).with_scoped(two_seconds);
        let limit = Duration::from_secs(2);
        assert!(tokio::time::timeout(limit, used).await.is_err());
    });
    assert_eq!(told, ["slow: entered after 1s", "slow: lost"]);
}

/// Regression: a limit on enter made it two.
#[test]
fn a_context_with_a_limit_on_enter_is_one_context() {
    const LONG: Duration = Duration::from_secs(59);
    const SHORT: Duration = Duration::from_millis(500);

    let told_in_time = told(async || {
        let context = slow(Ok(())).enter_timeout(LONG);
        let used = context.with(async |()| Ok(two_seconds(&mut ()).await?));
        used.await.expect("it ends well");
        let context = Some(
            slow(Err("exit"))
                .enter_timeout(LONG)
                .err_into::<TimeoutError<&str>>(),
        );
        let used = context.with(async |_| Ok(two_seconds(&mut ()).await?));
        assert!(used.await.is_err());
    });
    assert_eq!(
        told_in_time,
        [
            "slow: entered after 1s",
            "slow: exited after Completed, 2s, 3s",
            "slow: entered after 1s",
            "slow: exited after Completed, 2s, 3s, failed"
        ]
    );

    let in_background = [
        "slow: detached",
        "slow: entered after 1s",
        "slow: exited after Cancelled, 0ns, 3s, detached",
    ];
    let told_late = told(async || {
        let context = slow(Ok(())).enter_timeout(SHORT);
        assert!(context.with(async |()| Ok(())).await.is_err());
    });
    assert_eq!(told_late, in_background);
    let told_given_up = told(async || {
        let used = slow(Ok(())).enter_timeout(LONG).with(async |()| Ok(()));
        assert!(tokio::time::timeout(SHORT, used).await.is_err());
    });
    assert_eq!(told_given_up, in_background);

    let told_dropped = told(async || {
        for limit in [1500, 2500] {
            let context = slow(Ok(())).enter_timeout(LONG);
            let used = context.with(async |()| Ok(sleep(Duration::from_secs(1)).await));
            let limit = Duration::from_millis(limit);
            assert!(tokio::time::timeout(limit, used).await.is_err());
            detached::drain().await;
        }
    });
    assert_eq!(
        told_dropped,
        [
            "slow: entered after 1s",
            "slow: detached",
            "slow: exited after Cancelled, 500ms, 3s, detached",
            "slow: entered after 1s",
            "slow: detached",
            "slow: exited after Completed, 1s, 3s, detached",
        ]
    );

    let told_not_entered = told(async || {
        assert!(
            closed()
                .enter_timeout(LONG)
                .with(async |()| Ok(()))
                .await
                .is_err()
        );
        assert!(
            waiting()
                .enter_timeout(SHORT)
                .with(async |()| Ok(()))
                .await
                .is_err()
        );
        let used = waiting().enter_timeout(LONG).with(async |()| Ok(()));
        assert!(tokio::time::timeout(SHORT, used).await.is_err());
    });
    assert_eq!(
        told_not_entered,
        [
            "closed: not entered",
            "waiting: not entered",
            "waiting: not entered"
        ]
    );
}

#[test]
fn a_context_with_a_limit_on_enter_that_can_not_exit_is_told_and_reported_once() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let seen = reports.clone();
    let told = told(async || {
        report::set_hook(move |report| {
            seen.lock().expect("no hook panics").push(report.kind());
        });
        let context = slow(Ok(())).enter_timeout(Duration::from_secs(59));
        let used = context.with_scoped(async |()| Ok(two_seconds(&mut ()).await?));
        let limit = Duration::from_secs(2);
        assert!(tokio::time::timeout(limit, used).await.is_err());
    });
    assert_eq!(told, ["slow: entered after 1s", "slow: lost"]);
    assert_eq!(
        *reports.lock().expect("no hook panics"),
        [report::Kind::NotRun]
    );
}

#[test]
fn what_is_made_of_one_context_is_told_as_one() {
    async fn used<C>(context: C)
    where
        C: AsyncContext<Verdict = ()> + 'static,
    {
        let used = context.with(async |_| Ok(sleep(Duration::from_secs(2)).await));
        assert!(used.await.is_ok());
    }

    const LONG: Duration = Duration::from_secs(59);

    let mut told = told(async || {
        let make = || slow(Ok(()));
        used(make().map_err(|error| error)).await;
        used(make().err_into::<String>()).await;
        used(make().enter_timeout(LONG)).await;
        used(make().exit_timeout(LONG)).await;
        used(make().exit_timeout(LONG).enter_timeout(LONG)).await;
        used(make().enter_timeout(LONG).exit_timeout(LONG)).await;
        used(make().enter_timeout(LONG).enter_timeout(LONG)).await;
        used(make().ignore_exit_errors()).await;
        used(make().cancellable_enter()).await;
        used(make().boxed()).await;
        used(Some(make())).await;
        used(Either::<_, BoxContext<(), &str>>::Left(make())).await;
        used(vec![make()]).await;
        used(join((make(),))).await;
    });
    let once = [
        "slow: entered after 1s",
        "slow: exited after Completed, 2s, 3s",
    ];
    // Several that are one are one more, by another name.
    told.retain(|line| line.starts_with("slow: "));
    assert_eq!(told, once.repeat(14));
}

#[test]
fn an_exit_over_its_limit_is_told_as_failing() {
    let told = told(async || {
        let context = slow(Ok(())).exit_timeout(Duration::from_secs(1));
        let guard = context.guard().await.expect("it enters");
        assert!(Guard::close(guard).await.is_err());
        let context = slow(Ok(())).exit_timeout(Duration::from_secs(1));
        drop(context.guard().await);
    });
    assert_eq!(
        told,
        [
            "slow: entered after 1s",
            "slow: exited after Completed, 0ns, 1s, failed",
            "slow: entered after 1s",
            "slow: detached",
            "slow: exited after Cancelled, 0ns, 1s, failed, detached",
        ]
    );
}

#[test]
fn an_observer_that_panics_changes_nothing() {
    let _stage = Stage::alone();
    observe::set_observer(|event| assert!(!event.context.contains("::observe::"), "observer"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let result = runtime
        .expect("a runtime")
        .block_on(slow(Ok(())).with(two_seconds));
    observe::reset_observer();
    assert_eq!(result, Ok(()));
}

#[test]
fn counters_add_up() {
    let counters = Arc::new(Counters::new());
    let stage = Stage::alone();
    let counting = Arc::clone(&counters);
    observe::set_observer(move |event| {
        if event.context.contains("::observe::") {
            counting.count(event);
        }
    });
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let _ = slow(Ok(())).with(two_seconds).await;
        let _ = slow(Err("exit"))
            .with(async |()| Err::<(), _>("body"))
            .await;
        let _ = closed().with(two_seconds).await;
        let used = slow(Ok(())).with(two_seconds);
        let _ = tokio::time::timeout(Duration::from_secs(2), used).await;
        let guard = slow(Ok(())).guard().await.expect("it enters");
        let counts = counters.counts();
        assert_eq!(
            (counts.entered, counts.in_use(), counts.cancelled),
            (4, 2, 0)
        );
        Guard::close(guard).await.expect("it exits");
        detached::drain().await;
        let panics = tokio::spawn(slow(Ok(())).with(fails_hard));
        assert!(panics.await.is_err());
        let used = slow(Ok(())).with_scoped(two_seconds);
        let _ = tokio::time::timeout(Duration::from_secs(2), used).await;
    });
    observe::reset_observer();
    drop(stage.reports());
    let counts = counters.counts();
    assert_eq!(counts.entered, 6);
    assert_eq!(counts.not_entered, 1);
    assert_eq!((counts.completed, counts.failed), (2, 1));
    assert_eq!((counts.panicked, counts.cancelled), (1, 1));
    assert_eq!(
        (counts.exit_failed, counts.detached, counts.lost),
        (1, 1, 1)
    );
    assert_eq!(counts.in_use(), 0);
}

/// Runs the program, and gives what an observer is told of stacks, and what it counts of all.
fn told_of_stacks(program: impl AsyncFnOnce()) -> (Vec<String>, Counts) {
    let _stage = Stage::alone();
    let counters = Arc::new(Counters::new());
    let events = Arc::new(Mutex::new(Vec::new()));
    let (counting, log) = (Arc::clone(&counters), Arc::clone(&events));
    observe::set_observer(move |event| {
        counting.count(event);
        if event.context.ends_with("::ExitStack") {
            log.lock().expect("no observer panics").push(line(event));
        }
    });
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        program().await;
        detached::drain().await;
    });
    observe::reset_observer();
    let events = events.lock().expect("no observer panics");
    (events.clone(), counters.counts())
}

const ENTERED: &str = "ExitStack: entered after 0ns";

const CANCELLED: &str = "ExitStack: exited after Cancelled, 0ns, 0ns";

const COMPLETED: &str = "ExitStack: exited after Completed, 0ns, 0ns";

/// Regression: each was told as lost, though there was nothing to exit.
#[test]
fn a_stack_that_has_nothing_to_exit_is_told_as_over_and_not_as_lost() {
    // It was dropped, and so cancelled, if there was anything.
    let (told, counts) = told_of_stacks(async || {
        drop(ExitStack::<&str>::new());
        drop(ExitStack::<&str, Suppression>::suppressing());
    });
    assert_eq!(told, [ENTERED, CANCELLED, ENTERED, CANCELLED]);
    assert_eq!((counts.lost, counts.detached, counts.in_use()), (0, 0, 0));

    let (told, counts) = told_of_stacks(async || {
        let stack = ExitStack::<&str>::new();
        let lease = stack.enter(ready::<_, &str>(1)).await.expect("it enters");
        assert_eq!(lease.release().await, Ok(()));
    });
    assert_eq!(told, [ENTERED, CANCELLED]);
    assert_eq!((counts.lost, counts.in_use()), (0, 0));

    // Its entries have gone on, as another stack.
    let (told, counts) = told_of_stacks(async || {
        let mut stack = ExitStack::<&str>::new();
        drop(stack.enter(ready::<_, &str>(1)).await);
        let taken = stack.take();
        drop(stack);
        assert_eq!(taken.exit(Ok(())).await, Ok(()));
    });
    assert_eq!(told, [ENTERED, ENTERED, CANCELLED, COMPLETED]);
    assert_eq!((counts.lost, counts.in_use()), (0, 0));

    // What was moved onto another one is over as it should be, where that is the older of the two
    // as well.
    for is_older in [false, true] {
        let (told, counts) = told_of_stacks(async || {
            let mut stack = ExitStack::<&str>::new();
            let mut other = ExitStack::<&str>::new();
            drop(stack.enter(ready::<_, &str>(1)).await);
            drop(other.enter(ready::<_, &str>(2)).await);
            if is_older {
                std::mem::swap(&mut stack, &mut other);
            }
            stack.extend(other);
            assert_eq!(stack.len(), 2);
            drop(stack);
        });
        let detached = "ExitStack: detached";
        let in_background = "ExitStack: exited after Cancelled, 0ns, 0ns, detached";
        assert_eq!(told, [ENTERED, ENTERED, COMPLETED, detached, in_background]);
        assert_eq!((counts.lost, counts.in_use()), (0, 0));
    }
}
