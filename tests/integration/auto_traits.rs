//! `Send` and `Sync` where the parts are, and where the parts of a use run.

use std::rc::Rc;

use async_context_manager::report::Report;
use async_context_manager::{BodyError, BodyPanic, prelude::*};
use tests::{Fault, Ledger, Script, everywhere, generated, pause};

fn send<T: Send>(value: T) -> T {
    value
}

fn sync<T: Sync>(value: T) -> T {
    value
}

#[test]
fn the_futures_of_a_use_are_send_when_context_body_and_value_are() {
    let ledger = Ledger::default();
    let context = || generated(Script::new("c", &ledger));
    let mut counter = 0;
    drop(send(context().with(async |_| {
        counter += 1;
        pause(1).await;
        Ok(())
    })));
    drop(send(context().try_with(async |_| Ok(pause(1).await))));
    drop(send(context().with_scoped(async |_| Ok(pause(1).await))));
    drop(send(context().with(async |_| Ok(pause(1).await))));
    drop(send(async {
        let failure = context().try_with(async |_| Ok(pause(1).await));
        failure.await.map_err(Failure::into_primary)
    }));
    drop(send(context().guard()));
    drop(send(context().boxed().with(async |_| Ok(()))));
    drop(send(context().err_into::<Fault>().with(async |_| Ok(()))));
    drop(send(async {
        let guard = context().guard().await?;
        pause(1).await;
        Guard::exit(guard, Ok(())).await
    }));
}

/// The value's type has a lifetime, and the future is part of a bigger one.
#[test]
fn with_is_send_inside_of_other_futures_whatever_the_value() {
    let ledger = Ledger::default();
    let mut sum = 0;
    drop(send(async {
        generated(Script::new("outer", &ledger))
            .with(async |outer| {
                let inner = generated(Script::new("inner", &ledger));
                inner
                    .with(async |inner| {
                        pause(1).await;
                        sum += outer.len() + inner.len();
                        Ok(())
                    })
                    .await
            })
            .await
    }));
}

/// A savepoint in a transaction, in a task: a value that borrows, in a future that has to be `Send`.
#[test]
fn with_scoped_is_send_for_a_value_that_borrows() {
    #[async_context]
    async fn savepoint(log: &mut String) -> Result<&mut String, Fault> {
        log.push_str("begin ");
        let (log, outcome) = yield_!(log);
        log.push_str(if outcome.is_completed() {
            "release"
        } else {
            "rollback"
        });
        Ok(())
    }

    everywhere(async |_| {
        let task = tokio::spawn(async {
            let mut log = String::new();
            let result = savepoint(&mut log)
                .with_scoped(async |log| {
                    pause(1).await;
                    log.push_str("work ");
                    Ok(())
                })
                .await;
            (result, log)
        });
        let (result, log) = task.await.expect("it does not panic");
        assert_eq!((result, log.as_str()), (Ok(()), "begin work release"));
    });
}

#[test]
fn guards_and_what_exits_see_are_send_and_sync() {
    fn both<T: Send + Sync>() {}

    both::<Outcome>();
    both::<BodyError>();
    both::<BodyPanic>();
    both::<Report>();
    both::<Failure<u8, Fault>>();
    both::<Guard<BoxContext<String, Fault>>>();
    let ledger = Ledger::default();
    everywhere(async |_| {
        let guard = generated(Script::new("c", &ledger))
            .guard()
            .await
            .expect("it opens");
        assert_eq!(Guard::close(sync(send(guard))).await, Ok(()));
    });
}

#[test]
fn a_body_that_is_not_send_works_on_one_thread() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let shared = Rc::new(1);
        let result = generated(Script::new("c", &ledger))
            .with_local(async |_| {
                let shared = Rc::clone(&shared);
                pause(1).await;
                Ok(*shared)
            })
            .await;
        assert_eq!(result, Ok(1));
    });
}

#[test]
fn enter_body_and_exit_run_in_the_caller_s_task() {
    #[async_context]
    async fn same_task(ledger: Ledger) -> Result<(), Fault> {
        ledger.note(format!("{:?}", tokio::task::id()));
        let ((), _) = yield_!(());
        ledger.note(format!("{:?}", tokio::task::id()));
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let notes = ledger.clone();
        let task = tokio::spawn(same_task(ledger.clone()).with(async move |()| {
            notes.note(format!("{:?}", tokio::task::id()));
            Ok(())
        }));
        let id = format!("{:?}", task.id());
        assert_eq!(task.await.expect("it does not panic"), Ok(()));
        assert_eq!(ledger.lines(), [id.clone(), id.clone(), id]);
    });
}
