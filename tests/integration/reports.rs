//! The hook: what it is told, and what it may do.

use std::sync::{Arc, Mutex};

use async_context_manager::report::{self, Kind};
use async_context_manager::testing::{cancel_after, cancel_everywhere};
use async_context_manager::{Either, detached, join, join_all, prelude::*};
use tests::{
    ByHand, End, Fault, Ledger, Script, Stage, everywhere, generated, in_a_process_of_its_own,
    on_current_thread, pause,
};

fn failing(ledger: &Ledger) -> Script {
    Script::new("c", ledger).exit(End::Fail("rollback"))
}

async fn make_a_report(script: Script) {
    let result: Result<(), _> = generated(script).with(async |_| Err(Fault("cause"))).await;
    assert_eq!(result, Err(Fault("cause")));
}

#[test]
fn a_report_names_the_context_and_brings_the_error_with_its_type() {
    everywhere(async |_| {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = seen.clone();
        report::set_hook(move |report| {
            let error = report
                .error()
                .and_then(|error| error.downcast_ref::<Fault>());
            let line = format!("{:?} {error:?}: {report}", report.kind());
            assert!(report.panic().is_none());
            let mut notes = notes.lock().expect("no test panics in here");
            notes.push(format!("{} | {line}", report.context()));
        });
        let ledger = Ledger::default();
        make_a_report(failing(&ledger)).await;
        let by_hand = ByHand::<()>::new(failing(&ledger));
        let result: Result<(), _> = by_hand.with(async |_| Err(Fault("cause"))).await;
        assert!(result.is_err());
        let boxed = generated(failing(&ledger)).err_into().boxed();
        let result: Result<(), Fault> = boxed.with(async |_| Err(Fault("cause"))).await;
        assert!(result.is_err());

        let rest = "ExitFailed Some(Fault(\"rollback\")): async context";
        let name = "tests::contexts::generated";
        let by_hand = "tests::contexts::ByHand<()>";
        let line = |name| format!("{name} | {rest} `{name}`: exit failed: Fault(\"rollback\")");
        let seen = seen.lock().expect("no test panics in here");
        assert_eq!(*seen, [line(name), line(by_hand), line(name)]);
    });
}

#[test]
fn a_hook_that_panics_is_caught() {
    everywhere(async |_| {
        report::set_hook(|_| std::panic::resume_unwind(Box::new("hook")));
        let ledger = Ledger::default();
        make_a_report(failing(&ledger)).await;
        assert!(ledger.has("exited c"));
    });
}

#[test]
fn a_hook_may_replace_the_hook() {
    everywhere(async |_| {
        let told = Arc::new(Mutex::new(0));
        let count = told.clone();
        report::set_hook(move |_| {
            let count = count.clone();
            report::set_hook(move |_| *count.lock().expect("no test panics in here") += 1);
        });
        let ledger = Ledger::default();
        make_a_report(failing(&ledger)).await;
        make_a_report(failing(&ledger)).await;
        assert_eq!(*told.lock().expect("no test panics in here"), 1);
    });
}

#[test]
fn a_context_that_borrows_and_is_dropped_is_reported_as_not_run() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        // In enter, in the body, in exit.
        for polls in [1, 4, 6] {
            let context = generated(Script::new("c", &ledger));
            let future = context.with_scoped(async |_| Ok(pause(2).await));
            assert!(tests::poll_times(future, polls).await.is_none());
            assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
        }
        // Before the first poll, and after the end, there is nothing to report.
        drop(generated(Script::new("c", &ledger)).with_scoped(async |_| Ok(())));
        let context = generated(Script::new("c", &ledger));
        assert_eq!(context.with_scoped(async |_| Ok(())).await, Ok(()));
        assert_eq!(stage.reports(), []);
        assert_eq!(detached::count(), 0);
    });
}

#[test]
fn a_context_that_borrows_is_given_up_in_a_cancellable_await_without_a_report() {
    #[async_context]
    async fn waiting(count: &mut u8) -> Result<(), Fault> {
        cancellable!(std::future::pending::<()>()).await;
        *count += 1;
        let ((), _) = yield_!(());
        Ok(())
    }

    everywhere(async |stage| {
        let mut count = 0;
        let future = waiting(&mut count).with_scoped(async |()| Ok(()));
        assert_eq!(tests::poll_times(future, 3).await, None);
        assert_eq!((stage.reports(), count), (vec![], 0));
    });
}

/// By hand, the protocol can be broken. It is said.
#[test]
fn a_generator_entered_by_hand_and_never_exited_is_reported_as_not_run() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let mut context = generated(Script::new("c", &ledger));
        assert_eq!(context.enter().await, Ok("c"));
        drop(context);
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);

        let mut context = generated(Script::new("c", &ledger));
        let value = context.enter().await.expect("it opens");
        assert_eq!(context.exit(value, &Outcome::Completed).await, Ok(()));
        assert_eq!(stage.reports(), []);
    });
}

/// The reports of other tests must not reach a hook that is gone.
#[test]
fn the_default_hook_can_be_had_back() {
    let stage = Stage::alone();
    report::reset_hook();
    let ledger = Ledger::default();
    // It writes to stderr, where a test can't see it: that the caught ones stay empty is the point.
    futures::executor::block_on(make_a_report(failing(&ledger)));
    assert_eq!(stage.reports(), []);
}

/// The names under which a failing body is reported whose caller goes away in exit, and a failing exit.
async fn names_of<C>(make: impl Fn() -> C) -> Vec<(Kind, &'static str)>
where
    C: AsyncContext<Error = Fault, Verdict = ()> + 'static,
{
    let mut names = Vec::new();
    cancel_everywhere(
        || make().with(async |_| Err::<(), _>(Fault("b"))),
        |run| {
            for report in run.reports() {
                names.push((report.kind(), report.context()));
            }
        },
    )
    .await;
    names.sort_unstable_by_key(|(kind, name)| (format!("{kind:?}"), *name));
    names.dedup();
    names
}

#[test]
fn a_context_made_of_others_is_reported_by_its_name_and_they_by_theirs() {
    on_current_thread(async |_| {
        const ONE: &str = "tests::contexts::generated";

        let ledger = Ledger::default();
        let fails = || generated(failing(&ledger));
        // The first error of an exit is that of the whole.
        let whole = |name| [(Kind::BodyFailed, name), (Kind::ExitFailed, name)];
        let both = |name| [&whole(name)[..], &[(Kind::ExitFailed, ONE)]].concat();
        let itself = whole(ONE);
        assert_eq!(names_of(fails).await, itself);
        assert_eq!(names_of(|| Some(fails())).await, itself);
        assert_eq!(names_of(|| fails().boxed()).await, itself);
        assert_eq!(names_of(|| fails().cancellable_enter()).await, itself);
        assert_eq!(names_of(|| fails().ignore_exit_errors()).await, itself);
        let left = || Either::<_, BoxContext<_, _>>::Left(fails());
        assert_eq!(names_of(left).await, itself);
        let right = || Either::<BoxContext<_, _>, _>::Right(fails());
        assert_eq!(names_of(right).await, itself);
        let joined = names_of(|| join((fails(), fails()))).await;
        assert_eq!(joined, both("async_context_manager::join"));
        let joined = names_of(|| join_all([fails(), fails()])).await;
        assert_eq!(joined, both("async_context_manager::join_all"));
        let in_order = names_of(|| vec![fails(), fails()]).await;
        assert_eq!(in_order, both(type_name_of(&vec![fails()])));
        let nothing = || None.filter(|_: &BoxContext<u8, Fault>| true);
        assert_eq!(names_of(nothing).await, []);
    });
}

#[test]
fn an_exit_that_panics_in_the_background_is_reported_by_its_name() {
    on_current_thread(async |_| {
        let ledger = Ledger::default();
        let context = generated(Script::new("c", &ledger).exit(End::Panic("exit")));
        let used = context.with(async |_| Ok(pause(9).await));
        let run = cancel_after(5, used).await;
        let names = run
            .reports()
            .iter()
            .map(|report| (report.kind(), report.context()));
        assert!(names.eq([(Kind::Panicked, "tests::contexts::generated")]));
        assert!(ledger.has("exit c: cancelled"));
    });
}

fn type_name_of<T>(_: &T) -> &'static str {
    std::any::type_name::<T>()
}

const LINE: &str = "async context `tests::contexts::generated`: exit failed: Fault(\"rollback\")\n";

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn a_report_without_a_hook() {
    let _stage = Stage::alone();
    report::reset_hook();
    futures::executor::block_on(make_a_report(failing(&Ledger::default())));
}

#[test]
fn the_default_hook_writes_one_line_to_stderr() {
    assert_eq!(
        in_a_process_of_its_own("reports::a_report_without_a_hook"),
        LINE
    );
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn a_report_with_a_hook_that_panics() {
    let _stage = Stage::alone();
    report::set_hook(|_| std::panic::resume_unwind(Box::new("hook")));
    futures::executor::block_on(make_a_report(failing(&Ledger::default())));
}

#[test]
fn a_report_whose_hook_panics_is_written_to_stderr() {
    assert_eq!(
        in_a_process_of_its_own("reports::a_report_with_a_hook_that_panics"),
        LINE
    );
}

/// Regression: its payload was dropped where a panic aborts.
#[test]
fn a_hook_whose_panic_panics_when_it_drops_is_caught_as_well() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }

    everywhere(async |_| {
        report::set_hook(|_| std::panic::resume_unwind(Box::new(Bomb)));
        let ledger = Ledger::default();
        make_a_report(failing(&ledger)).await;
        drop(generated(failing(&ledger)).guard().await);
        detached::drain().await;
        assert_eq!(ledger.count("exited c"), 2);
    });
}

/// Regression: the old hook was dropped under the lock.
#[test]
fn what_an_old_hook_holds_may_set_a_hook_when_it_drops() {
    struct Resets;

    impl Drop for Resets {
        fn drop(&mut self) {
            report::reset_hook();
        }
    }

    let _stage = Stage::alone();
    let resets = Resets;
    report::set_hook(move |_| {
        let _held = &resets;
    });
    report::reset_hook();
}

#[test]
fn exit_by_hand_after_half_an_enter_panics_and_does_not_hang() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let mut context = generated(Script::new("c", &ledger));
        assert!(tests::poll_times(context.enter(), 1).await.is_none());
        let exit = context.exit("c", &Outcome::Completed);
        let exit = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(exit));
        assert!(exit.await.is_err());
        assert_eq!(stage.reports(), [(Kind::NotRun, String::new())]);
    });
}
