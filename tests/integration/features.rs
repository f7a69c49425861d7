//! What the optional features add.

#[cfg(feature = "anyhow")]
mod anyhow {
    use ::anyhow::Context as _;
    use async_context_manager::prelude::*;
    use tests::{Fault, everywhere};

    #[async_context]
    async fn curious() -> ::anyhow::Result<()> {
        let ((), outcome) = yield_!(());
        let error = outcome.error().context("the body failed")?;
        ::anyhow::ensure!(error.is::<Fault>() && !error.is::<std::io::Error>());
        ::anyhow::ensure!(error.downcast_ref::<Fault>() == Some(&Fault("inside")));
        Ok(())
    }

    #[test]
    fn exit_sees_the_error_inside_of_anyhow_s() {
        everywhere(async |stage| {
            let result: ::anyhow::Result<()> = curious()
                .with(async |()| Err(Fault("inside")).context("around it"))
                .await;
            assert!(result.is_err_and(|error| error.is::<Fault>()));
            assert_eq!(stage.reports(), [], "exit found what it looked for");
        });
    }
}

#[cfg(feature = "tracing")]
mod tracing {
    use std::fmt::Debug;
    use std::sync::{Arc, Mutex};

    use ::tracing::field::{Field, Visit};
    use ::tracing::{Event, Level, Metadata, Subscriber, span};
    use async_context_manager::prelude::*;
    use async_context_manager::report;
    use tests::{End, Ledger, Script, Stage, generated};

    #[derive(Clone, Default)]
    struct Events(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Events {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            struct Message(String);

            impl Visit for Message {
                fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                    if field.name() == "message" {
                        self.0 = format!("{value:?}");
                    }
                }
            }

            let mut message = Message(String::new());
            event.record(&mut message);
            assert_eq!(*event.metadata().level(), Level::ERROR);
            self.0
                .lock()
                .expect("no test panics in here")
                .push(message.0);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn a_report_is_an_event_of_level_error() {
        let _stage = Stage::alone();
        report::reset_hook();
        let events = Events::default();
        ::tracing::subscriber::with_default(events.clone(), || {
            let ledger = Ledger::default();
            let script = Script::new("c", &ledger).exit(End::Fail("rollback"));
            let failing = generated(script).with(async |_| End::Fail("cause").come());
            assert!(futures::executor::block_on(failing).is_err());
        });
        let events = events.0.lock().expect("no test panics in here");
        assert_eq!(events.len(), 1);
        assert!(
            events[0].ends_with("exit failed: Fault(\"rollback\")"),
            "{events:?}"
        );
    }
}
