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
    use std::fmt::{Debug, Write as _};
    use std::sync::{Arc, Mutex};

    use ::tracing::field::{Field, Visit};
    use ::tracing::{Event, Level, Metadata, Subscriber, span};
    use ::tracing_subscriber::Layer;
    use ::tracing_subscriber::layer::{Context, SubscriberExt as _};
    use ::tracing_subscriber::registry::{LookupSpan, Scope};
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

            if *event.metadata().level() == Level::DEBUG {
                return; // of the end of each context
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

    /// Each span's line of ancestors, and what has been recorded on it.
    #[derive(Clone, Default)]
    struct Spans(Arc<Mutex<Vec<(String, String)>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, " {field}={value:?}");
        }
    }

    impl<S> Layer<S> for Spans
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        fn on_new_span(&self, fields: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
            let mut visitor = Fields(String::new());
            fields.record(&mut visitor);
            let span = cx.span(id).expect("it is new");
            span.extensions_mut().insert(visitor);
        }

        fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
            let span = cx.span(id).expect("it is open");
            values.record(
                span.extensions_mut()
                    .get_mut::<Fields>()
                    .expect("it has some"),
            );
        }

        fn on_follows_from(&self, id: &span::Id, follows: &span::Id, cx: Context<'_, S>) {
            let scope = |id| names(cx.span_scope(id));
            self.add(scope(id), format!(" follows from {}", scope(follows)));
        }

        fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.add(names(cx.event_scope(event)), fields.0);
        }

        fn on_close(&self, id: span::Id, cx: Context<'_, S>) {
            let span = cx.span(&id).expect("it closes now");
            let scope = names(Some(span.scope()));
            let fields = span.extensions_mut().remove::<Fields>();
            self.add(scope, fields.expect("it has some").0);
        }
    }

    impl Spans {
        fn add(&self, scope: String, fields: String) {
            self.0
                .lock()
                .expect("no test panics in here")
                .push((scope, fields));
        }
    }

    fn names<S: for<'a> LookupSpan<'a>>(scope: Option<Scope<'_, S>>) -> String {
        let spans = scope.into_iter().flatten();
        let names = spans.map(|span| {
            let extensions = span.extensions();
            let fields = extensions.get::<Fields>().map_or("", |fields| &fields.0);
            let name = fields.split_whitespace().next().unwrap_or_default();
            name.rsplit("::")
                .next()
                .unwrap_or_default()
                .replace('"', "")
        });
        names.collect::<Vec<_>>().join(" in ")
    }

    #[async_context]
    async fn traced(name: &'static str) -> Result<(), &'static str> {
        ::tracing::info!(name, "enters");
        let ((), _) = yield_!(());
        tokio::task::yield_now().await;
        ::tracing::info!(name, "exits");
        Err("exit")
    }

    #[async_context]
    async fn around() -> Result<(), &'static str> {
        let ((), _) = yield_!(());
        Ok(())
    }

    /// What was told in all spans, by a program that is given to this.
    fn traced_program(program: impl Future<Output = ()>) -> Vec<(String, String)> {
        let stage = Stage::alone();
        report::reset_hook();
        let spans = Spans::default();
        let subscriber = ::tracing_subscriber::registry().with(spans.clone());
        ::tracing::subscriber::with_default(subscriber, || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().start_paused(true).build();
            runtime.expect("a runtime").block_on(async {
                program.await;
                async_context_manager::detached::drain().await;
            });
        });
        assert_eq!(stage.reports(), []);
        let mut spans = spans.0.lock().expect("no test panics in here");
        std::mem::take(&mut *spans)
    }

    fn has_recorded(fields: &str, expected: &[&str]) {
        for field in expected {
            assert!(fields.contains(field), "{field}: {fields}");
        }
    }

    #[test]
    fn a_detached_exit_runs_in_a_second_span_of_its_context_which_follows_from_the_first() {
        let spans = traced_program(async {
            let used = around().with(async |()| {
                let inner = traced("inner").with(async |()| {
                    ::tracing::info!("body");
                    std::future::pending::<Result<(), &str>>().await
                });
                let limit = std::time::Duration::from_secs(1);
                let _ = tokio::time::timeout(limit, inner).await;
                Ok(())
            });
            used.await.expect("the outer one exits well");
        });
        let scopes: Vec<_> = spans.iter().map(|(scope, _)| scope.as_str()).collect();
        let (first, second, outer) = ("traced in around", "traced", "around");
        assert_eq!(scopes[..3], [first; 3], "{spans:?}");
        assert_eq!(
            scopes[3..9],
            [second, first, second, second, second, second],
            "{spans:?}"
        );
        assert_eq!(scopes[9..], [outer; 2], "{spans:?}");
        assert_eq!(spans[0].1, " message=enters name=\"inner\"");
        assert_eq!(spans[1].1, " message=body");
        assert_eq!(spans[2].1, " message=goes on in the background");
        assert_eq!(spans[3].1, " follows from traced in around");
        let in_both = [
            " phase=exit",
            " enter=0ns",
            " body=1s",
            " outcome=cancelled",
            " detached=true",
        ];
        has_recorded(&spans[4].1, &in_both);
        assert_eq!(spans[5].1, " message=exits name=\"inner\"");
        assert_eq!(
            spans[6].1,
            " message=exited outcome=\"cancelled\" enter=0ns body=1s exit=0ns detached=true \
             exit_failed=true"
        );
        assert!(spans[7].1.contains("exit failed: \"exit\""), "{spans:?}");
        has_recorded(&spans[8].1, &in_both);
        has_recorded(&spans[8].1, &[" exit=0ns", " exit_failed=true"]);
        assert!(spans[10].1.contains(" outcome=completed"), "{spans:?}");
        assert!(!spans[10].1.contains("detached"), "{spans:?}");
    }

    #[test]
    fn the_span_of_a_request_closes_while_its_exits_go_on_in_the_background() {
        #[async_context]
        async fn slow(enter: u64) -> Result<(), &'static str> {
            tokio::time::sleep(std::time::Duration::from_secs(enter)).await;
            let ((), _) = yield_!(());
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            ::tracing::info!("exits");
            Ok(())
        }

        let spans = traced_program(async {
            for enter in [0, 3] {
                let request =
                    slow(enter).with(async |()| std::future::pending::<Result<(), &str>>().await);
                let limit = std::time::Duration::from_secs(1);
                let request = tokio::time::timeout(limit, request);
                let span = ::tracing::info_span!("request", name = "request");
                let _ = ::tracing::Instrument::instrument(request, span).await;
                ::tracing::info!("answered");
                async_context_manager::detached::drain().await;
            }
        });
        let scopes: Vec<_> = spans.iter().map(|(scope, _)| scope.as_str()).collect();
        let (first, second) = ("slow in name=request", "slow");
        let one = [
            first,
            second,
            first,
            "name=request",
            "",
            second,
            second,
            second,
        ];
        assert_eq!(scopes, [one, one].concat(), "{spans:?}");
        // The second one was given up in its enter.
        let (entering, ended) = (&spans[one.len() + 2].1, &spans[one.len() + 7].1);
        assert!(!entering.contains("outcome"), "{spans:?}");
        has_recorded(ended, &[" enter=3s", " outcome=cancelled"]);
    }
}
