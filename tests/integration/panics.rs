//! Panics in enter, body and exit.

use std::panic::{AssertUnwindSafe, resume_unwind};

use async_context_manager::prelude::*;
use async_context_manager::report::Kind;
use futures::FutureExt;
use tests::{End, Fault, Ledger, Script, everywhere, generated};

#[test]
fn all_exits_run_when_the_body_panics_and_then_the_same_payload_goes_on() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let make = |name| generated(Script::new(name, &ledger));
        let payload = Box::new(vec![1_u8, 2, 3]);
        let address = payload.as_ptr();
        let nested = make("outer").with(async |_| {
            make("inner")
                .with(async move |_| -> Result<(), Fault> { resume_unwind(payload) })
                .await
        });
        let payload = AssertUnwindSafe(nested)
            .catch_unwind()
            .await
            .expect_err("it panics");
        let payload = payload.downcast::<Vec<u8>>().expect("it is the same");
        assert_eq!(payload.as_ptr(), address);
        ledger.check_nesting();
        assert_eq!(ledger.count("exited"), 2);
    });
}

#[test]
fn a_context_that_panics_in_enter_is_not_exited_and_the_outer_ones_are() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let inner = Script::new("inner", &ledger).enter(End::Panic("p"));
        let nested = generated(Script::new("outer", &ledger))
            .with(async |_| generated(inner).with(async |_| Ok(())).await);
        let payload = AssertUnwindSafe(nested)
            .catch_unwind()
            .await
            .expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"p"));
        assert_eq!(
            ledger.text(),
            "enter outer, entered outer, enter inner, exit outer: panicked(p), exited outer"
        );
    });
}

#[test]
fn when_body_and_exit_panic_the_first_goes_on_and_the_second_is_reported() {
    everywhere(async |stage| {
        let ledger = Ledger::default();
        let nested = generated(Script::new("outer", &ledger)).with(async |_| {
            generated(Script::new("inner", &ledger).exit(End::Panic("second")))
                .with(async |_| End::Panic("first").come().map(|_| ()))
                .await
        });
        let payload = AssertUnwindSafe(nested)
            .catch_unwind()
            .await
            .expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"first"));
        assert_eq!(stage.reports(), [(Kind::Panicked, "second".to_owned())]);
        assert!(ledger.has("exit outer: panicked(first)"));
    });
}

#[test]
fn an_exit_that_panics_by_itself_panics_through_the_outer_exits() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let nested = generated(Script::new("outer", &ledger)).with(async |_| {
            generated(Script::new("inner", &ledger).exit(End::Panic("q")))
                .with(async |_| Ok(()))
                .await
        });
        let payload = AssertUnwindSafe(nested)
            .catch_unwind()
            .await
            .expect_err("it panics");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"q"));
        assert!(ledger.has("exit outer: panicked(q)"));
    });
}

#[test]
fn what_the_body_holds_drops_before_exit_when_it_panics() {
    everywhere(async |_| {
        let ledger = Ledger::default();
        let future = generated(Script::new("c", &ledger)).with(async |_| -> Result<(), Fault> {
            let _held = ledger.on_drop("body's local dropped");
            resume_unwind(Box::new("p"))
        });
        assert!(AssertUnwindSafe(future).catch_unwind().await.is_err());
        assert!(
            ledger
                .text()
                .contains("body's local dropped, exit c: panicked(p)")
        );
    });
}

/// A panic in a `Drop`, while the future that holds it is dropped.
#[test]
fn a_local_that_panics_in_its_drop_does_not_keep_exit_from_running() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            resume_unwind(Box::new("bomb"));
        }
    }

    everywhere(async |_| {
        let ledger = Ledger::default();
        let mut future = Box::pin(generated(Script::new("c", &ledger)).with(
            async |_| -> Result<(), Fault> {
                let _bomb = Bomb;
                std::future::pending().await
            },
        ));
        for _ in 0..10 {
            assert!(futures::poll!(&mut future).is_pending());
            tests::pause(1).await;
        }
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(future)));
        assert!(dropped.is_err());
        async_context_manager::detached::drain().await;
        assert!(
            ledger.text().ends_with("exit c: cancelled, exited c"),
            "{}",
            ledger.text()
        );
    });
}

/// Panics when it drops.
#[derive(Debug)]
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new(self.0));
    }
}

/// A context whose error, like the body's, panics when it drops.
struct Armed {
    exit: Option<End>,
}

impl AsyncContext for Armed {
    type Value = ();
    type Error = Bomb;
    type Verdict = ();

    async fn enter(&mut self) -> Result<(), Bomb> {
        Ok(())
    }

    async fn exit(self, (): (), _: &Outcome) -> Result<(), Bomb> {
        match self.exit {
            Some(End::Panic(message)) => resume_unwind(Box::new(message)),
            Some(_) => Err(Bomb("dropped error of exit")),
            None => Ok(()),
        }
    }
}

async fn message_of<T>(future: impl Future<Output = T>) -> &'static str {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(_) => "no panic",
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("?"),
    }
}

/// Regressions: the first panic was lost, or the process aborted.
#[test]
fn a_value_or_an_error_that_panics_in_its_drop_does_not_hide_the_real_panic() {
    everywhere(async |stage| {
        let exit_fails = Armed {
            exit: Some(End::Fail("")),
        };
        let body_panics =
            async |(): &mut ()| -> Result<(), Bomb> { resume_unwind(Box::new("body")) };
        assert_eq!(message_of(exit_fails.with(body_panics)).await, "body");

        let exit_panics = || Armed {
            exit: Some(End::Panic("exit")),
        };
        let body_fails = async |(): &mut ()| Err::<(), _>(Bomb("dropped error of the body"));
        assert_eq!(message_of(exit_panics().with(body_fails)).await, "exit");
        let body_ends = async |(): &mut ()| Ok(Bomb("dropped value"));
        assert_eq!(message_of(exit_panics().with(body_ends)).await, "exit");

        // The value of the body has nowhere to go where exit fails: the error goes to the caller.
        let failed = Armed {
            exit: Some(End::Fail("")),
        }
        .with(async |()| Ok(Bomb("dropped value")))
        .await;
        std::mem::forget(failed);

        let kinds: Vec<_> = stage.reports().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::ExitFailed,
                Kind::BodyFailed,
                Kind::Panicked,
                Kind::Panicked
            ]
        );
    });
}
