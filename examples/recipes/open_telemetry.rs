//! An exit whose spans belong to the trace of the request, even if the client has gone.
//!
//! OpenTelemetry keeps the current context in a thread-local variable, for as long as a task is
//! polled. An exit in the background is polled by a task of its own, which does not see that
//! variable. Therefore the context carries the trace along.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_context_manager::{Carry, CarryError, detached, prelude::*};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, Span as _, TraceContextExt, Tracer, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider, SpanData};

/// Carries the OpenTelemetry context that is current when enter begins.
struct Trace;

impl Carry for Trace {
    type Carried = Context;

    fn capture(self) -> Option<Context> {
        Some(Context::current())
    }

    fn attach<T>(carried: &Context, poll: impl FnOnce() -> T) -> T {
        let _attached = carried.clone().attach();
        poll()
    }
}

/// A transaction that traces how it ends.
#[async_context]
async fn transaction(tracer: Arc<SdkTracer>) -> Result<(), Infallible> {
    let ((), outcome) = yield_!(());
    let ended = if outcome.is_completed() {
        "commit"
    } else {
        "rollback"
    };
    tracer.start(ended).end();
    Ok(())
}

/// Returns a tracer, and the exporter that keeps its spans for the tests.
fn tracer() -> (Arc<SdkTracer>, InMemorySpanExporter) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    (Arc::new(provider.tracer("recipe")), exporter)
}

/// Runs the work of a request, with the span of the request as the current one.
async fn request<F: Future>(tracer: &SdkTracer, work: F) -> F::Output {
    let span = tracer.start("request");
    work.with_context(Context::current_with_span(span)).await
}

fn span(exporter: &InMemorySpanExporter, name: &str) -> SpanData {
    let spans = exporter.get_finished_spans().unwrap();
    spans.into_iter().find(|span| span.name == name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_exit_of_a_client_who_has_gone_is_traced_in_the_request() {
    let (tracer, exporter) = tracer();
    request(&tracer, async {
        let use_of_it = transaction(tracer.clone()).carry(Trace).with(async |()| {
            tokio::time::sleep(Duration::from_mins(1)).await;
            Ok(())
        });
        let in_time = tokio::time::timeout(Duration::from_secs(1), use_of_it).await;
        assert!(in_time.is_err());
    })
    .await;
    detached::drain().await;

    let (request, rollback) = (span(&exporter, "request"), span(&exporter, "rollback"));
    assert_eq!(rollback.parent_span_id, request.span_context.span_id());
    assert_eq!(
        rollback.span_context.trace_id(),
        request.span_context.trace_id()
    );
}

#[tokio::test]
async fn an_exit_that_is_awaited_is_traced_in_the_request() -> Result<(), CarryError<Infallible>> {
    let (tracer, exporter) = tracer();
    let transaction = transaction(tracer.clone()).carry(Trace);
    request(&tracer, transaction.with(async |()| Ok(()))).await?;

    let (request, commit) = (span(&exporter, "request"), span(&exporter, "commit"));
    assert_eq!(commit.parent_span_id, request.span_context.span_id());
    Ok(())
}

#[tokio::test]
async fn without_it_the_exit_in_the_background_is_in_no_trace() {
    let (tracer, exporter) = tracer();
    request(&tracer, async {
        let Ok(guard) = transaction(tracer.clone()).guard().await;
        drop(guard);
    })
    .await;
    detached::drain().await;

    let (request, rollback) = (span(&exporter, "request"), span(&exporter, "rollback"));
    assert_ne!(
        rollback.span_context.trace_id(),
        request.span_context.trace_id()
    );
}
