//! What an exit is told about the body.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};

use async_context_manager::{detached, prelude::*};
use tests::{End, Fault, Ledger, Script, everywhere, generated, poll_times};

#[test]
fn exit_receives_completed_for_a_body_that_returns_ok() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let result = generated(Script::new("c", &ledger))
            .with(async |_| Ok(1))
            .await;
        assert_eq!(result, Ok(1));
        assert!(ledger.has("exit c: completed"));
    });
}

#[test]
fn exit_receives_the_error_of_a_body_that_fails_and_can_tell_its_type() {
    #[async_context]
    async fn curious(ledger: Ledger) -> Result<(), Fault> {
        let ((), outcome) = yield_!(());
        let error = outcome.error().expect("the body failed");
        assert!(error.is::<Fault>() && !error.is::<io::Error>());
        assert_eq!(error.downcast_ref::<Fault>(), Some(&Fault("b")));
        assert_eq!(error.as_any().downcast_ref::<Fault>(), Some(&Fault("b")));
        assert!(
            error.type_name().ends_with("Fault"),
            "{}",
            error.type_name()
        );
        ledger.note(format!("{error:?}"));
        Ok(())
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let result: Result<(), _> = curious(ledger.clone())
            .with(async |()| Err(Fault("b")))
            .await;
        assert_eq!(result, Err(Fault("b")));
        assert_eq!(ledger.text(), "Fault(\"b\")");
    });
}

#[test]
fn exit_sees_the_error_inside_a_box() {
    type Boxed = Box<dyn Error + Send + Sync>;

    #[async_context]
    async fn curious() -> Result<(), Boxed> {
        let ((), outcome) = yield_!(());
        let error = outcome.error().expect("the body failed");
        assert!(error.is::<Fault>() && !error.is::<io::Error>());
        assert_eq!(error.downcast_ref::<Fault>(), Some(&Fault("inside")));
        assert!(error.as_any().is::<Boxed>());
        Ok(())
    }

    everywhere(async |_| {
        let result: Result<(), _> = curious().with(async |()| Err(Fault("inside"))?).await;
        assert!(result.is_err_and(|error| error.is::<Fault>()));
    });
}

#[test]
fn exit_receives_cancelled_when_the_future_is_dropped_in_the_body() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let context = generated(Script::new("c", &ledger));
        let future = context.with(async |_| std::future::pending::<Result<(), Fault>>().await);
        assert_eq!(poll_times(future, 10).await, None);
        detached::drain().await;
        assert_eq!(
            ledger.text(),
            "enter c, entered c, exit c: cancelled, exited c"
        );
    });
}

#[test]
fn exit_receives_the_message_when_the_body_panics() {
    everywhere(async |_| {
        for (payload, message) in [
            (Box::new("text") as Box<dyn std::any::Any + Send>, "text"),
            (Box::new(String::from("string")), "string"),
            (Box::new(7_u8), "Box<dyn Any>"),
        ] {
            let ledger = Ledger::default();
            let context = generated(Script::new("c", &ledger));
            let task = context
                .with(async move |_| -> Result<(), Fault> { std::panic::resume_unwind(payload) });
            assert!(
                tokio::spawn(task)
                    .await
                    .is_err_and(|error| error.is_panic())
            );
            assert!(
                ledger.has(&format!("exit c: panicked({message})")),
                "{}",
                ledger.text()
            );
        }
    });
}

/// What an outcome says about itself: which one it is, its error, its panic.
type Said = ([bool; 4], Option<String>, Option<String>);

#[async_context]
async fn asking(said: Arc<Mutex<Option<Said>>>) -> Result<(), Fault> {
    let ((), outcome) = yield_!(());
    let is = [
        outcome.is_completed(),
        outcome.is_failed(),
        outcome.is_panicked(),
        outcome.is_cancelled(),
    ];
    let error = outcome.error().map(|error| format!("{error:?}"));
    let panic = outcome.panic().map(|panic| format!("{panic:?}"));
    *said.lock().expect("no test panics in here") = Some((is, error, panic));
    Ok(())
}

#[test]
fn an_outcome_is_one_of_four_and_gives_its_error_or_its_panic() {
    everywhere(async |_| {
        let ends = [
            Some(End::Ok),
            Some(End::Fail("b")),
            Some(End::Panic("p")),
            None,
        ];
        for (number, end) in ends.into_iter().enumerate() {
            let said = Arc::new(Mutex::new(None));
            let future = asking(said.clone()).with(async |()| match end {
                Some(end) => end.come(),
                None => std::future::pending().await,
            });
            let future = poll_times(future, 5);
            let ended = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(future));
            assert_eq!(ended.await.is_err(), number == 2);
            detached::drain().await;
            let mut is = [false; 4];
            is[number] = true;
            let error = (number == 1).then(|| "Fault(\"b\")".to_owned());
            let panic = (number == 2).then(|| "BodyPanic(\"p\")".to_owned());
            let said = said.lock().expect("no test panics in here").take();
            assert_eq!(said, Some((is, error, panic)));
        }
    });
}

#[test]
fn when_a_later_context_fails_to_enter_the_earlier_ones_exit_in_reverse_with_that_failure() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let third = Script::new("third", &ledger).enter(End::Fail("closed"));
        let result = make("first")
            .with(async |_| {
                make("second")
                    .with(async |_| generated(third).with(async |_| Ok(())).await)
                    .await
            })
            .await;
        assert_eq!(result, Err(Fault("closed")));
        ledger.check_nesting();
        assert!(ledger.text().ends_with(
            "enter third, exit second: failed(Fault(\"closed\")), exited second, \
             exit first: failed(Fault(\"closed\")), exited first"
        ));
    });
}

#[test]
fn nested_contexts_see_the_same_outcome() {
    everywhere(async |_| {
        for (end, told) in [
            (End::Ok, "completed"),
            (End::Fail("b"), "failed(Fault(\"b\"))"),
            (End::Panic("p"), "panicked(p)"),
        ] {
            let ledger = Ledger::default();
            let make = |name| generated(Script::new(name, &ledger));
            let nested =
                make("outer").with(async |_| make("inner").with(async |_| end.come()).await);
            let ended = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(nested));
            assert_eq!(ended.await.is_err(), end == End::Panic("p"));
            assert!(
                ledger.has(&format!("exit inner: {told}")),
                "{}",
                ledger.text()
            );
            assert!(
                ledger.has(&format!("exit outer: {told}")),
                "{}",
                ledger.text()
            );
        }
    });
}

#[test]
fn an_exit_acts_on_one_type_of_error_only() {
    /// Retries are for what may pass.
    #[async_context]
    async fn counting(interrupts: &mut u8) -> Result<(), Box<dyn Error + Send + Sync>> {
        let ((), outcome) = yield_!(());
        let error = outcome
            .error()
            .and_then(|error| error.downcast_ref::<io::Error>());
        if error.is_some_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            *interrupts += 1;
        }
        Ok(())
    }

    everywhere(async |_| {
        let mut interrupts = 0;
        for error in [
            Box::<dyn Error + Send + Sync>::from(io::Error::from(io::ErrorKind::Interrupted)),
            io::Error::from(io::ErrorKind::NotFound).into(),
            Fault("other").into(),
        ] {
            let result: Result<(), _> = counting(&mut interrupts)
                .with_scoped(async |()| Err(error))
                .await;
            assert!(result.is_err());
        }
        assert_eq!(interrupts, 1);
    });
}
