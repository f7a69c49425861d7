//! A context around each request of any axum service, until the *body* of its answer has been sent.
//!
//! A handler that streams its answer returns long before the answer has been sent. What the stream
//! reads from must stay open until then, and only the end of the body shows how the request ended.
//! Here the context is exited
//!
//! - as completed, when the server has taken all of the body;
//! - as failed, when the body fails;
//! - as cancelled, in the background, when the client is gone, or when nobody reads the body.
//!
//! The status has been sent by then, so an exit that fails cannot change the status. Instead it
//! ends the body with an error, and the server breaks the connection off, so that the client sees
//! an answer that is cut short. If the server has everything it needs, such as all bytes of an
//! answer with a known length, it drops the body at once. Then the exit runs in the background, as
//! completed, and its error is reported. For a context whose exit decides the status, as a commit
//! does, see `layer.rs`.
//!
//! A streaming answer that only needs a context of its own is shorter: see `streaming.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use async_context_manager::{detached, prelude::*};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures::{StreamExt as _, stream};
use http_body::{Body as _, Frame, SizeHint};
use tower::ServiceExt as _;

type Log = Arc<Mutex<Vec<String>>>;

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the body of the answer: {0}")]
    Body(axum::Error),
    #[error("the log is full")]
    Full,
}

#[derive(Clone)]
struct RequestId(u32);

#[async_context(struct = Logged)]
async fn logged(log: Log, path: String) -> Result<RequestId, Trouble> {
    let id = log.lock().expect("no one panics with it").len();
    let id = RequestId(u32::try_from(id).expect("there are few"));
    let (_id, outcome) = yield_!(id);
    let end = match outcome {
        Outcome::Completed => "sent",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled => "the client has gone",
        _ => "panicked",
    };
    let mut log = log.lock().expect("no one panics with it");
    log.push(format!("{path}: {end}"));
    if path == "/full" {
        return Err(Trouble::Full);
    }
    Ok(())
}

async fn layer(State(log): State<Log>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let Ok(guard) = logged(log, path).guard().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    request.extensions_mut().insert(guard.clone());
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(Scoped {
            body,
            scope: Scope::Open(guard),
        })
    })
}

/// A body, and the context that is open until the body has been sent.
struct Scoped {
    body: Body,
    scope: Scope,
}

enum Scope {
    Open(Guard<Logged>),
    Exiting(Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send>>),
    Exited,
}

impl Scoped {
    fn exit(&mut self, result: Result<(), Trouble>) {
        if let Scope::Open(guard) = std::mem::replace(&mut self.scope, Scope::Exited) {
            self.scope = Scope::Exiting(Box::pin(Guard::exit(guard, result)));
        }
    }
}

impl http_body::Body for Scoped {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let this = &mut *self;
        loop {
            match &mut this.scope {
                Scope::Open(_) => match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Some(Err(error)) => this.exit(Err(Trouble::Body(error))),
                    None => this.exit(Ok(())),
                },
                Scope::Exiting(exit) => {
                    let exited = ready!(exit.as_mut().poll(cx));
                    this.scope = Scope::Exited;
                    return Poll::Ready(exited.err().map(Err));
                }
                Scope::Exited => return Poll::Ready(None),
            }
        }
    }

    /// `true` only after the exit has ended.
    fn is_end_stream(&self) -> bool {
        matches!(self.scope, Scope::Exited)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            // The server has all of it, and has not asked again.
            self.exit(Ok(()));
        }
    }
}

/// Three parts, each created when the server asks for it.
async fn parts(Extension(id): Extension<RequestId>) -> Body {
    let parts =
        stream::iter(0..3).map(move |part| Ok::<_, axum::Error>(format!("{} {part}\n", id.0)));
    Body::from_stream(parts)
}

async fn broken() -> Body {
    let parts = [Ok("a part"), Err(axum::Error::new("the disk"))];
    Body::from_stream(stream::iter(parts))
}

#[tokio::test]
async fn the_scope_of_a_request_ends_with_its_body() {
    let log = Log::default();
    let app = Router::new()
        .route("/parts", get(parts))
        .route("/full", get(parts))
        .route("/broken", get(broken))
        .route("/short", get(async || "with a length"))
        .layer(from_fn_with_state(log.clone(), layer));
    let request = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = app.clone().oneshot(request).await.expect("it can't fail");
        answer.into_body().into_data_stream()
    };
    let last = || {
        let log = log.lock().expect("no one panics with it");
        log.last().cloned().unwrap_or_default()
    };

    let mut body = request("/parts").await;
    assert_eq!(body.next().await.unwrap().unwrap(), "0 0\n");
    assert_eq!(last(), "", "it is being sent");
    assert_eq!(body.count().await, 2);
    assert_eq!(last(), "/parts: sent");

    let mut body = request("/parts").await;
    body.next().await;
    drop(body);
    detached::drain().await;
    assert_eq!(last(), "/parts: the client has gone");

    drop(request("/parts").await); // never read
    detached::drain().await;
    assert_eq!(last(), "/parts: the client has gone");

    let parts: Vec<_> = request("/broken").await.collect().await;
    assert!(parts.len() == 2 && parts[1].is_err());
    assert_eq!(last(), "/broken: failed");

    // The client learns of an exit that fails at the end.
    let parts: Vec<_> = request("/full").await.collect().await;
    assert!(parts.len() == 4 && parts[3].is_err());

    let mut body = request("/short").await;
    body.next().await;
    drop(body); // as a server does that has sent as many bytes as the head says
    detached::drain().await;
    assert_eq!(last(), "/short: sent");
}
