//! What belongs to a user and panics by itself: a conversion of an error, a `Drop`, a `Debug`. It
//! is a panic of the exit that it comes up in, or a report; and it hides nothing else.

use std::fmt;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;

use async_context_manager::generator::{Lender, generator};
use async_context_manager::report::Kind;
use async_context_manager::{
    Guard,
    contexts::{closing, ready, suppress_if},
    detached, join, join_all,
    prelude::*,
};
use futures::FutureExt;
use tests::{End, Ledger, Stage, everywhere, in_a_process_of_its_own, pause, poll_times};

/// The error of an exit that can't be converted.
#[derive(Debug)]
struct Refused;

/// The error of a program.
#[derive(Debug, PartialEq)]
struct AppError(&'static str);

impl From<Refused> for AppError {
    fn from(_: Refused) -> Self {
        resume_unwind(Box::new("conversion"))
    }
}

/// Panics when it drops.
#[derive(Debug)]
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new(self.0));
    }
}

fn seen(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Panicked(panic) => format!("panicked({})", panic.message()),
        Outcome::Failed(_) => "failed".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// A context that notes what its exit sees; any error type.
#[async_context]
async fn noting<E>(name: &'static str, ledger: Ledger) -> Result<(), E>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    pause(1).await;
    let ((), outcome) = yield_!(());
    ledger.note(format!("exit {name}: {}", seen(outcome)));
    pause(2).await;
    ledger.note(format!("exited {name}"));
    Ok(())
}

/// A context whose exit fails with an error that can't be converted.
#[async_context]
async fn refusing(ledger: Ledger) -> Result<(), Refused> {
    let ((), outcome) = yield_!(());
    pause(1).await;
    ledger.note(format!("refused: {}", seen(outcome)));
    Err(Refused)
}

/// A context that lends this value, and drops it in its exit.
#[async_context]
async fn lending<E>(bomb: Bomb) -> Result<Bomb, E>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    let (bomb, _) = yield_!(bomb);
    pause(1).await;
    drop(bomb);
    Ok(())
}

/// The message of the panic that the future ends with.
async fn panic_of<T>(future: impl Future<Output = T>) -> &'static str {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(_) => "no panic",
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("?"),
    }
}

fn panicked(message: &str) -> (Kind, String) {
    (Kind::Panicked, message.to_owned())
}

const IN_ORDER: &str = "exit second: panicked(conversion), exited second, \
                        exit first: panicked(conversion), exited first";

async fn filled(ledger: &Ledger) -> ExitStack<AppError> {
    let stack = ExitStack::new();
    for name in ["first", "second"] {
        let entered = stack.enter(noting::<AppError>(name, ledger.clone())).await;
        drop(entered);
    }
    drop(stack.enter(refusing(ledger.clone())).await);
    stack
}

/// Regression: the stack gave `Ok`, and the other entries exited as cancelled, all at once.
#[test]
fn a_conversion_that_panics_is_a_panic_of_the_exit_of_its_entry() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = filled(&ledger).await;
        assert_eq!(panic_of(stack.exit(Ok(7))).await, "conversion");
        assert_eq!(ledger.text(), format!("refused: completed, {IN_ORDER}"));
        assert_eq!((stage.reports(), detached::count()), (vec![], 0));

        let ledger = Ledger::default();
        let stack = filled(&ledger).await;
        let failed = stack.try_exit::<()>(Err(AppError("body")));
        assert_eq!(panic_of(failed).await, "conversion");
        assert_eq!(ledger.text(), format!("refused: failed, {IN_ORDER}"));
        assert_eq!(
            stage.reports(),
            [(Kind::BodyFailed, "AppError(\"body\")".to_owned())]
        );

        let ledger = Ledger::default();
        let panics = ExitStack::<AppError>::scope(async |stack| -> Result<(), _> {
            *stack = filled(&ledger).await;
            resume_unwind(Box::new("body"))
        });
        assert_eq!(panic_of(panics).await, "body");
        assert_eq!(stage.reports(), [panicked("conversion")]);
        assert!(ledger.has("exit first: panicked(body)"));
    });
}

#[test]
fn a_conversion_that_panics_where_nobody_waits_is_reported_and_the_order_stays() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        drop(filled(&ledger).await);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "refused: cancelled, exit second: cancelled, exited second, \
             exit first: cancelled, exited first"
        );
        assert_eq!(stage.reports(), [panicked("conversion")]);

        // The caller leaves after the panic, before the others have exited.
        let ledger = Ledger::default();
        let exit = filled(&ledger).await.exit(Ok(()));
        assert!(poll_times(exit, 3).await.is_none());
        detached::drain().await;
        assert!(
            ledger
                .text()
                .ends_with("exited second, exit first: cancelled, exited first")
        );
        assert_eq!(stage.reports(), [panicked("conversion")]);
    });
}

#[test]
fn a_conversion_that_panics_in_a_release_is_its_panic_alone() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let stack = ExitStack::<AppError>::new();
        drop(
            stack
                .enter(noting::<AppError>("first", ledger.clone()))
                .await,
        );
        let lease = stack.enter(refusing(ledger.clone())).await;
        let lease = lease.expect("it enters");
        assert_eq!(panic_of(lease.release()).await, "conversion");
        let lease = stack.enter(refusing(ledger.clone())).await;
        drop(lease.expect("it enters").release());
        detached::drain().await;
        // In the background, an entry has the error type of its stack as well.
        assert_eq!(stage.reports(), [panicked("conversion")]);
        assert_eq!(stack.exit(Ok(1)).await, Ok(1));
        assert!(
            ledger
                .text()
                .ends_with("exit first: completed, exited first")
        );
    });
}

#[test]
fn a_conversion_that_panics_in_enter_is_the_body_s_panic() {
    #[async_context]
    async fn closed() -> Result<(), Refused> {
        let opened: Result<(), _> = Err(Refused);
        opened?;
        let ((), _) = yield_!(());
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = ExitStack::<AppError>::new();
        assert_eq!(panic_of(stack.enter(closed())).await, "conversion");
        assert!(stack.is_empty());
        let scope = ExitStack::<AppError>::scope(async |stack| {
            drop(
                stack
                    .enter(noting::<AppError>("first", ledger.clone()))
                    .await?,
            );
            stack.enter(closed()).await.map(drop)
        });
        assert_eq!(panic_of(scope).await, "conversion");
        let with = closed().err_into::<AppError>().with(async |()| Ok(()));
        assert_eq!(panic_of(with).await, "conversion");
        let guard = closed().err_into::<AppError>().guard();
        assert_eq!(panic_of(guard).await, "conversion");
        assert_eq!(
            ledger.text(),
            "exit first: panicked(conversion), exited first"
        );
    });
}

#[test]
fn a_conversion_that_panics_in_one_of_several_is_its_panic_and_the_others_exit() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let make = |name| noting::<AppError>(name, ledger.clone()).boxed();
        let refuse = || refusing(ledger.clone()).err_into::<AppError>().boxed();

        let list = vec![make("first"), make("second"), refuse()];
        assert_eq!(panic_of(list.with(async |_| Ok(7))).await, "conversion");
        assert_eq!(ledger.text(), format!("refused: completed, {IN_ORDER}"));

        let before = ledger.lines().len();
        let array = [make("first"), make("second"), refuse()];
        assert_eq!(panic_of(array.with(async |_| Ok(7))).await, "conversion");
        assert!(ledger.text().ends_with(IN_ORDER));
        assert_eq!(ledger.lines().len(), 2 * before);

        let list = vec![make("first"), refuse()];
        let exit = async {
            let mut list = list;
            let values = list.enter().await.expect("it enters");
            list.exit(values, &Outcome::Completed).await
        };
        assert_eq!(panic_of(exit).await, "conversion");
        assert!(
            ledger
                .text()
                .ends_with("exit first: panicked(conversion), exited first")
        );

        let both = join((make("third"), refuse()));
        assert_eq!(panic_of(both.with(async |_| Ok(()))).await, "conversion");
        let all = join_all([refuse(), make("fourth")]);
        assert_eq!(panic_of(all.with(async |_| Ok(()))).await, "conversion");
        assert!(ledger.has("exited third") && ledger.has("exited fourth"));
        assert_eq!(stage.reports(), []);
    });
}

#[test]
fn a_conversion_that_panics_after_an_exit_panics_through_the_exits_around() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let map = || refusing(ledger.clone()).map_err(AppError::from);
        let with = noting::<AppError>("outer", ledger.clone())
            .with(async |()| map().with(async |()| Ok(())).await);
        assert_eq!(panic_of(with).await, "conversion");
        assert!(ledger.has("exit outer: panicked(conversion)"));

        let guard = map().guard().await.expect("it enters");
        assert_eq!(panic_of(Guard::close(guard)).await, "conversion");
        drop(map().guard().await);
        detached::drain().await;
        assert_eq!(stage.reports(), [panicked("conversion")]);

        let fails = map().with(async |()| Err::<(), _>(AppError("body")));
        assert_eq!(panic_of(fails).await, "conversion");
        assert_eq!(
            stage.reports(),
            [(Kind::BodyFailed, "AppError(\"body\")".to_owned())]
        );
    });
}

#[test]
fn a_value_that_panics_when_its_exit_drops_it_is_a_panic_of_that_exit() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let around = |name| noting::<AppError>(name, ledger.clone());
        let with = around("with").with(async |()| {
            let context = lending::<AppError>(Bomb("value"));
            context.with(async |_| Ok(())).await
        });
        assert_eq!(panic_of(with).await, "value");

        let guard = lending::<AppError>(Bomb("value")).guard().await;
        let guard = guard.expect("it enters");
        assert_eq!(panic_of(Guard::close(guard)).await, "value");
        let held = ready::<_, AppError>(Bomb("value"));
        assert_eq!(panic_of(held.with(async |_| Ok(()))).await, "value");

        for round in 0..3 {
            let stack = ExitStack::<AppError>::new();
            drop(stack.enter(around("stack")).await);
            match round {
                0 => stack.keep(Bomb("value")),
                1 => drop(stack.enter(lending::<AppError>(Bomb("value"))).await),
                _ => drop(stack.adopt(Bomb("value"), async |bomb: Bomb, _: &Outcome| {
                    drop(bomb);
                    Ok(())
                })),
            }
            assert_eq!(panic_of(stack.exit(Ok(()))).await, "value");
        }
        assert_eq!(ledger.count("exit with: panicked(value)"), 1);
        assert_eq!(ledger.count("exit stack: panicked(value)"), 3);
        assert_eq!(stage.reports(), []);

        // Nobody waits.
        let stack = ExitStack::<AppError>::new();
        drop(stack.enter(around("dropped")).await);
        stack.keep(Bomb("kept"));
        drop(stack);
        drop(lending::<AppError>(Bomb("guarded")).guard().await);
        detached::drain().await;
        let mut reports = stage.reports();
        reports.sort_by(|(_, one), (_, other)| one.cmp(other));
        assert_eq!(reports, [panicked("guarded"), panicked("kept")]);
        assert!(ledger.has("exited dropped"));
    });
}

/// A context that suppresses any error.
#[async_context(suppress)]
async fn suppressing() -> Result<(), Bomb> {
    let ((), outcome) = yield_!(());
    Ok(match outcome {
        Outcome::Failed(_) => Suppression::Suppress,
        _ => Suppression::Propagate,
    })
}

#[test]
fn a_suppressed_error_that_panics_when_it_drops_is_reported() {
    everywhere(async |stage| {
        let body = async |(): &mut ()| Err::<(), _>(Bomb("body"));
        assert!(matches!(suppressing().with(body).await, Ok(None)));
        assert_eq!(stage.reports(), [panicked("body")]);
        let guard = suppressing().guard().await.expect("it enters");
        let exit = Guard::exit(guard, Err::<(), _>(Bomb("body"))).await;
        assert!(matches!(exit, Ok(None)));
        assert_eq!(stage.reports(), [panicked("body")]);
    });
}

/// Regression: it took the stack's own exit with it, and nobody was told.
#[test]
fn an_error_that_panics_when_it_drops_does_not_keep_a_stack_from_exiting() {
    let fill = async |ledger: &Ledger| {
        let stack = ExitStack::<Bomb, Suppression>::suppressing();
        drop(stack.enter(noting::<Bomb>("first", ledger.clone())).await);
        drop(stack.enter(suppressing()).await);
        stack.defer(async |_: &Outcome| Err(Bomb("exit")));
        stack
    };
    everywhere(async |stage| {
        // The error of an exit is suppressed, with the body's value.
        let ledger = Ledger::default();
        let exit = fill(&ledger).await.exit(Ok(Bomb("value"))).await;
        assert!(matches!(exit, Ok(None)));
        assert_eq!(ledger.text(), "exit first: completed, exited first");
        assert_eq!(stage.reports(), [panicked("exit"), panicked("value")]);

        // The body's error is suppressed, and that of an exit behind it reported.
        let ledger = Ledger::default();
        let exit = fill(&ledger).await.exit::<()>(Err(Bomb("body"))).await;
        assert!(matches!(exit, Ok(None)));
        assert_eq!(ledger.text(), "exit first: completed, exited first");
        let exit_failed = [(Kind::ExitFailed, "Bomb(\"exit\")".to_owned())];
        assert_eq!(
            stage.reports(),
            [&exit_failed[..], &[panicked("body")]].concat()
        );

        // Dropped, with an error that nobody else has.
        let ledger = Ledger::default();
        drop(fill(&ledger).await);
        detached::drain().await;
        assert_eq!(stage.reports(), exit_failed);
        assert_eq!(ledger.text(), "exit first: cancelled, exited first");

        // The caller goes away.
        for polls in 1..3 {
            let ledger = Ledger::default();
            let stack = ExitStack::<Bomb>::new();
            drop(stack.enter(noting::<Bomb>("first", ledger.clone())).await);
            drop(stack.enter(noting::<Bomb>("second", ledger.clone())).await);
            stack.defer(async |_: &Outcome| Err(Bomb("exit")));
            assert!(poll_times(stack.exit(Ok(())), polls).await.is_none());
            detached::drain().await;
            assert_eq!(stage.reports(), exit_failed);
            let text = ledger.text();
            assert!(
                text.ends_with("exited second, exit first: cancelled, exited first"),
                "{text}"
            );
        }
    });
}

/// Regression: the error was lost.
#[test]
fn the_value_of_a_body_that_panics_when_it_drops_does_not_hide_the_error_or_panic_of_a_stack() {
    everywhere(async |stage| {
        let stack = ExitStack::<AppError>::new();
        stack.defer(async |_: &Outcome| Err(AppError("exit")));
        let exit = stack.exit(Ok(Bomb("value"))).await;
        assert_eq!(exit.map(drop), Err(AppError("exit")));
        assert_eq!(stage.reports(), [panicked("value")]);

        let stack = ExitStack::<AppError>::new();
        stack.defer(async |_: &Outcome| resume_unwind(Box::new("exit")));
        assert_eq!(panic_of(stack.exit(Ok(Bomb("value")))).await, "exit");
        assert_eq!(stage.reports(), [panicked("value")]);

        // Suppressed is the value, and an error comes after it.
        let stack = ExitStack::<AppError, Suppression>::suppressing();
        stack.defer(async |_: &Outcome| Err(AppError("last")));
        drop(stack.enter(suppress_if(|_: &AppError| true)).await);
        stack.defer(async |_: &Outcome| Err(AppError("exit")));
        let exit = stack.try_exit(Ok(Bomb("value"))).await;
        let failure = exit.map(drop).expect_err("the last one fails");
        assert_eq!(failure.exits[0].error, AppError("last"));
        assert_eq!(stage.reports(), [panicked("value")]);
    });
}

#[test]
fn values_that_a_body_has_added_and_that_panic_when_they_drop_are_reported_and_all_exit() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let context = |name| {
            let ledger = ledger.clone();
            #[async_context]
            async fn list(name: &'static str, ledger: Ledger) -> Result<Option<Bomb>, AppError> {
                let (_, outcome) = yield_!(None);
                ledger.note(format!("{name}: {}", seen(outcome)));
                Ok(())
            }
            list(name, ledger)
        };
        let contexts = vec![context("first"), context("second")];
        let with = contexts.with(async |values| {
            values.push(Some(Bomb("one more")));
            values.push(Some(Bomb("another")));
            Ok(())
        });
        assert_eq!(with.await, Ok(()));
        assert_eq!(ledger.text(), "second: completed, first: completed");
        assert_eq!(stage.reports(), [panicked("one more"), panicked("another")]);

        let mut contexts = vec![context("third")];
        let mut values = contexts.enter().await.expect("it enters");
        values.push(Some(Bomb("one more")));
        values.push(Some(Bomb("another")));
        assert_eq!(contexts.exit(values, &Outcome::Completed).await, Ok(()));
        assert!(ledger.has("third: completed"));
        assert_eq!(stage.reports(), [panicked("one more"), panicked("another")]);
    });
}

/// A context by hand that panics when it is dropped before its enter.
struct Armed {
    ledger: Ledger,
    name: &'static str,
    bomb: Option<Bomb>,
}

impl AsyncContext for Armed {
    type Value = ();
    type Error = AppError;
    type Verdict = ();

    async fn enter(&mut self) -> Result<(), AppError> {
        std::mem::forget(self.bomb.take());
        if self.name == "closed" {
            return Err(AppError("closed"));
        }
        pause(2).await;
        Ok(())
    }

    async fn exit(self, (): (), outcome: &Outcome) -> Result<(), AppError> {
        pause(2).await;
        self.ledger
            .note(format!("{}: {}", self.name, seen(outcome)));
        Ok(())
    }
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn members_that_were_not_entered() {
    let make = |ledger: &Ledger| {
        ["first", "second", "third", "fourth", "fifth"].map(|name| Armed {
            ledger: ledger.clone(),
            name,
            bomb: Some(Bomb(name)),
        })
    };
    everywhere(async |stage| {
        // In the third's enter.
        let ledger = Ledger::default();
        let list = Vec::from(make(&ledger));
        assert!(poll_times(list.with(async |_| Ok(())), 6).await.is_none());
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "third: cancelled, second: cancelled, first: cancelled"
        );
        assert_eq!(stage.reports(), [panicked("fifth"), panicked("fourth")]);

        let ledger = Ledger::default();
        let all = join_all(make(&ledger)).limit(2);
        assert!(poll_times(all.with(async |_| Ok(())), 1).await.is_none());
        detached::drain().await;
        assert_eq!(ledger.lines().len(), 2);
        assert_eq!(stage.reports().len(), 3);

        // The second fails: the exit of the first runs to its end, though the others drop then.
        let ledger = Ledger::default();
        let mut members = make(&ledger);
        members[1].name = "closed";
        let all = join_all(members).limit(2).with(async |_| Ok(()));
        assert_eq!(all.await, Err(AppError("closed")));
        assert_eq!(ledger.text(), "first: failed");
        assert_eq!(stage.reports().len(), 3);

        // The second fails, by hand: the others are not entered.
        let ledger = Ledger::default();
        let mut list = Vec::from(make(&ledger));
        list[1].name = "closed";
        assert_eq!(list.enter().await, Err(AppError("closed")));
        assert_eq!(ledger.text(), "first: failed");
        assert_eq!(stage.reports().len(), 3);
    });
}

#[test]
fn members_that_were_not_entered_and_panic_when_they_drop_are_reported_and_the_others_exit() {
    drop(in_a_process_of_its_own(
        "bombs::members_that_were_not_entered",
    ));
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn a_body_that_is_not_run() {
    #[async_context]
    async fn closed(panics: bool) -> Result<(), AppError> {
        pause(1).await;
        if panics {
            resume_unwind(Box::new("enter"));
        }
        let opened: Result<(), _> = Err(AppError("closed"));
        opened?;
        let ((), _) = yield_!(());
        Ok(())
    }

    everywhere(async |stage| {
        for panics in [false, true] {
            let held = Bomb("captured");
            let with = closed(panics).with(async move |()| {
                let _held = held;
                Ok(())
            });
            match AssertUnwindSafe(with).catch_unwind().await {
                Ok(result) => assert_eq!((result, panics), (Err(AppError("closed")), false)),
                Err(payload) => {
                    assert_eq!((payload.downcast_ref(), panics), (Some(&"enter"), true));
                }
            }
            assert_eq!(stage.reports(), [panicked("captured")]);
        }
    });
}

#[test]
fn a_body_that_is_not_run_and_panics_when_it_drops_does_not_hide_why() {
    drop(in_a_process_of_its_own("bombs::a_body_that_is_not_run"));
}

/// An error that can't be shown.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        resume_unwind(Box::new("debug"))
    }
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn errors_that_can_not_be_shown() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        for is_default in [false, true] {
            if is_default {
                async_context_manager::report::reset_hook();
            }
            let stack = ExitStack::<Hidden>::new();
            drop(stack.enter(noting::<Hidden>("first", ledger.clone())).await);
            stack.defer(async |_: &Outcome| Err(Hidden));
            stack.defer(async |_: &Outcome| Err(Hidden));
            let exit = stack.exit::<()>(Err(Hidden));
            assert!(exit.await.is_err());
            let failed = noting("second", ledger.clone()).with(async |()| {
                closing((), async |()| Err(Hidden))
                    .with(async |()| Err::<(), _>(Hidden))
                    .await
            });
            assert!(failed.await.is_err());
        }
        assert_eq!(ledger.count("exited "), 4);
    });
}

#[test]
fn errors_whose_debug_panics_are_reported_without_their_text() {
    let written = in_a_process_of_its_own("bombs::errors_that_can_not_be_shown");
    // Three reports, by two hooks, on two runtimes.
    assert_eq!(written.matches("`: ExitFailed\n").count(), 12, "{written}");
}

/// A context with a local that panics when it drops, as its value does. In exit it hangs, without
/// the value.
#[async_context]
async fn armed<E>() -> Result<Bomb, E>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    let _local = Bomb("local");
    pause(1).await;
    let (value, _) = yield_!(Bomb("value"));
    std::mem::forget(value);
    pending().await
}

/// The same by hand.
struct ArmedByHand {
    _bomb: Bomb,
}

impl AsyncContext for ArmedByHand {
    type Value = Bomb;
    type Error = AppError;
    type Verdict = ();

    async fn enter(&mut self) -> Result<Bomb, AppError> {
        pause(1).await;
        Ok(Bomb("value"))
    }

    async fn exit(self, value: Bomb, _: &Outcome) -> Result<(), AppError> {
        std::mem::forget(value);
        pending().await
    }
}

/// What was reported, with nothing left to report.
fn told(stage: &Stage) -> String {
    assert_eq!(detached::count(), 0);
    let reports = stage.reports().into_iter();
    let lines: Vec<_> = reports
        .map(|(kind, about)| format!("{kind:?} {about}").trim().to_owned())
        .collect();
    lines.join(", ")
}

/// Drops it, and gives the message of the panic.
fn drop_of<T>(value: T) -> &'static str {
    match catch_unwind(AssertUnwindSafe(|| drop(value))) {
        Ok(()) => "no panic",
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("?"),
    }
}

/// The future after so many polls.
async fn polled<F: Future>(future: F, polls: usize) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        assert!(futures::poll!(&mut future).is_pending());
    }
    future
}

/// A body that is never over.
async fn endless<E>(_: &mut Bomb) -> Result<(), E> {
    pending().await
}

const BOTH: &str = "NotRun, Panicked value, Panicked local";

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn a_context_that_borrows_with_two_bombs() {
    everywhere(async |stage| {
        // In the body.
        let used = polled(armed::<AppError>().with_scoped(endless), 2).await;
        assert_eq!((drop_of(used), told(stage).as_str()), ("no panic", BOTH));
        let used = polled(
            Some(armed::<AppError>()).with_scoped(async |_| pending::<Result<(), _>>().await),
            2,
        )
        .await;
        assert_eq!((drop_of(used), told(stage).as_str()), ("no panic", BOTH));
        let used = polled(
            ArmedByHand {
                _bomb: Bomb("self"),
            }
            .with_scoped(endless),
            2,
        )
        .await;
        assert_eq!(drop_of(used), "no panic");
        assert_eq!(told(stage), "NotRun, Panicked value, Panicked self");
        let map = Bomb("map");
        let mapped = armed::<AppError>().map_err(move |error| {
            let _with_this = &map;
            error
        });
        let used = polled(mapped.with_scoped(endless), 2).await;
        assert_eq!(drop_of(used), "no panic");
        assert_eq!(
            told(stage),
            "NotRun, Panicked value, Panicked map, Panicked local"
        );

        // With a local of the body: its panic goes on, unless the thread panics already.
        let body = async |_: &mut Bomb| -> Result<(), AppError> {
            let _local = Bomb("body");
            pending().await
        };
        let used = polled(armed::<AppError>().with_scoped(body), 2).await;
        assert_eq!((drop_of(used), told(stage).as_str()), ("body", BOTH));
        let used = polled(armed::<AppError>().with_scoped(body), 2).await;
        let panics = catch_unwind(AssertUnwindSafe(move || {
            let _used = used;
            resume_unwind(Box::new("thread"));
        }));
        let payload = panics.expect_err("it panics");
        assert_eq!(payload.downcast_ref(), Some(&"thread"));
        assert_eq!(told(stage), format!("Panicked body, {BOTH}"));

        // In enter, and in exit, with what the body has left.
        let used = polled(armed::<AppError>().with_scoped(endless), 1).await;
        assert_eq!(drop_of(used), "no panic");
        assert_eq!(told(stage), "NotRun, Panicked local");
        let body = async |_: &mut Bomb| Ok(Bomb("result"));
        let used = polled(armed::<AppError>().with_scoped(body), 2).await;
        assert_eq!(drop_of(used), "no panic");
        assert_eq!(told(stage), "Panicked result, NotRun, Panicked local");
        let body = async |_: &mut Bomb| Err::<(), _>(Bomb("error"));
        let used = polled(armed::<Bomb>().with_scoped(body), 2).await;
        assert_eq!(drop_of(used), "no panic");
        assert_eq!(
            told(stage),
            "NotRun, BodyFailed Bomb(\"error\"), Panicked local, Panicked error"
        );
    });
}

/// Regression: a panic in a destructor, while another one unwinds, ends the process.
#[test]
fn two_that_panic_in_one_context_that_borrows_and_is_dropped_are_reported_each() {
    drop(in_a_process_of_its_own(
        "bombs::a_context_that_borrows_with_two_bombs",
    ));
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn a_generator_by_hand_with_two_bombs() {
    everywhere(async |stage| {
        // In its enter.
        let mut context = armed::<AppError>();
        drop(polled(context.enter(), 1).await);
        assert_eq!(drop_of(context), "no panic");
        assert_eq!(told(stage), "NotRun, Panicked local");

        // In the body, whose value is the caller's.
        let mut context = armed::<AppError>();
        let value = context.enter().await.expect("it enters");
        let both = (context, value);
        assert_eq!(drop_of(both), "value");
        assert_eq!(told(stage), "NotRun, Panicked local");

        // Before its exit has begun, and then in it.
        let mut context = armed::<AppError>();
        let value = context.enter().await.expect("it enters");
        let exit = context.exit(value, &Outcome::Completed);
        assert_eq!(drop_of(exit), "value");
        assert_eq!(told(stage), "NotRun, Panicked local");
        let mut context = armed::<AppError>();
        let value = context.enter().await.expect("it enters");
        let exit = polled(context.exit(value, &Outcome::Completed), 1).await;
        assert_eq!(drop_of(exit), "no panic");
        assert_eq!(told(stage), "NotRun, Panicked local");

        // While the thread panics.
        let mut context = armed::<AppError>();
        std::mem::forget(context.enter().await);
        let panics = catch_unwind(AssertUnwindSafe(move || {
            let _context = context;
            resume_unwind(Box::new("thread"));
        }));
        assert!(panics.is_err());
        assert_eq!(told(stage), "NotRun, Panicked local");

        // Its code offers a value, and ends without the wait for it.
        for end in [End::Ok, End::Fail(""), End::Panic("end")] {
            let code = generator("broken", async move |lender: Lender<Bomb, _>| {
                let _yield = lender.yield_(Bomb("value"));
                end.come().map(|_| ())
            });
            let used = AssertUnwindSafe(code.with(async |_| Ok(())))
                .catch_unwind()
                .await;
            assert!(!matches!(used, Ok(Ok(()))));
            assert_eq!(told(stage), "Panicked value");
        }
    });
}

#[test]
fn what_panics_in_a_generator_that_is_held_by_hand_and_dropped_is_reported() {
    drop(in_a_process_of_its_own(
        "bombs::a_generator_by_hand_with_two_bombs",
    ));
}
