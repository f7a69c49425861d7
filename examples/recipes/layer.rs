//! A context around each request of an axum router, as a layer.
//!
//! The handlers get the value of the context as an extension. An answer with a server error fails
//! the body, so that the context sees the failure; the client still gets the answer. If the exit
//! fails, a good answer becomes a 500: no client must be told that something was done which was
//! not.
//!
//! The exit has run before the head of the answer is sent. For a context that must stay open until
//! the body of the answer has been sent as well, see `body_scope.rs`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_context_manager::{detached, prelude::*};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::time::timeout;
use tower::ServiceExt as _;

type Log = Arc<Mutex<Vec<String>>>;

#[derive(Clone)]
struct RequestId(u32);

#[derive(Debug)]
enum Trouble {
    /// The error of the body stands for an answer that counts as a failure. The answer itself
    /// cannot be the error, because it is not `Sync`.
    Answer,
    Full,
}

#[async_context]
async fn logged(log: Log, path: String) -> Result<RequestId, Trouble> {
    let id = u32::try_from(log.lock().expect("no one panics with it").len());
    let (id, outcome) = yield_!(RequestId(id.expect("there are few")));
    let end = match outcome {
        Outcome::Completed => "ok",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled => "the client hung up",
        _ => "panicked",
    };
    let mut log = log.lock().expect("no one panics with it");
    log.push(format!("{} {path}: {end}", id.0));
    if path == "/last" {
        return Err(Trouble::Full);
    }
    Ok(())
}

async fn layer(State(log): State<Log>, mut request: Request, next: Next) -> Response {
    let mut answer = None;
    let ended = logged(log, request.uri().path().to_owned())
        .try_with(async |id| {
            request.extensions_mut().insert(id.clone());
            let response = answer.insert(next.run(request).await);
            if response.status().is_server_error() {
                return Err(Trouble::Answer);
            }
            Ok(())
        })
        .await;
    match (ended, answer) {
        (Ok(()) | Err(Failure::Body(_) | Failure::BodyAndExit { .. }), Some(answer)) => answer,
        // The context could not be entered, or a good answer is no longer true.
        (Err(failure), _) => {
            tracing::error!("{failure:?}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        (Ok(()), None) => unreachable!("the body ends with an answer"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_request_is_logged_with_its_end() {
    let log = Log::default();
    let app = Router::new()
        .route(
            "/id",
            get(async |id: Extension<RequestId>| id.0.0.to_string()),
        )
        .route(
            "/broken",
            get(async || StatusCode::BAD_GATEWAY.into_response()),
        )
        .route("/last", get(async || "done"))
        .route("/slow", get(std::future::pending::<Response>))
        .layer(from_fn_with_state(log.clone(), layer));
    let get = |path: &str| {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        app.clone().oneshot(request)
    };
    assert_eq!(get("/id").await.unwrap().status(), StatusCode::OK);
    let broken = get("/broken").await.unwrap();
    assert_eq!(broken.status(), StatusCode::BAD_GATEWAY);
    // The handler answered 200, and then the exit failed.
    let last = get("/last").await.unwrap();
    assert_eq!(last.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let slow = timeout(Duration::from_secs(1), get("/slow"));
    assert!(slow.await.is_err());
    detached::drain().await;
    let lines = log.lock().unwrap();
    assert_eq!(
        *lines,
        [
            "0 /id: ok",
            "1 /broken: failed",
            "2 /last: ok",
            "3 /slow: the client hung up"
        ]
    );
}
