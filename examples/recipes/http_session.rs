//! A session at an HTTP service: log in, send requests with the token, log out.
//!
//! Use it for a service that counts its sessions, or that locks something for a session until the
//! session has logged out or is too old. The log-out is sent however the body ends, and on a
//! connection of its own: the connection of a request that was given up can't be used again. If
//! the log-out fails after a body that completed, the caller gets its error. If the service may
//! hang, use the session with `exit_timeout`.
//!
//! The log-in is not marked `cancellable!`: the service may have opened the session even if nobody
//! reads the answer. If the caller goes away, the log-in goes on, and the log-out follows.

use std::net::SocketAddr;

use async_context_manager::prelude::*;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Session {
    service: SocketAddr,
    token: String,
}

impl Session {
    /// Sends a request. With a client that has a pool, this is a line.
    async fn send(&self, method: Method, path: &str) -> Result<String, AnyError> {
        let stream = TcpStream::connect(self.service).await?;
        let (mut http, connection) = handshake(TokioIo::new(stream)).await?;
        let request = Request::builder().method(method).uri(path);
        let request = request.header("token", &self.token).body(String::new())?;
        let answer = async {
            let answer = http.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            drop(http); // ends the connection
            if !status.is_success() {
                return Err(AnyError::from(format!("{path}: {status}")));
            }
            Ok(String::from_utf8(body.to_vec())?)
        };
        let (answer, _) = tokio::join!(answer, connection);
        answer
    }
}

#[async_context]
async fn session(service: SocketAddr) -> Result<Session, AnyError> {
    let mut session = Session {
        service,
        token: String::new(),
    };
    session.token = session.send(Method::POST, "/session").await?;
    let (session, _outcome) = yield_!(session);
    session.send(Method::DELETE, "/session").await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use async_context_manager::detached;
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    use tokio::net::TcpListener;
    use tokio::sync::{Notify, Semaphore};

    use super::*;

    /// A service that has one session at a time. Its page `/slow` is never answered.
    async fn service(slow: Arc<Notify>) -> SocketAddr {
        let free = Arc::new(Semaphore::new(1));
        let places = free.clone();
        let log_in = async move || {
            let place = places.try_acquire().map_err(|_| StatusCode::CONFLICT)?;
            place.forget();
            Ok::<_, StatusCode>("token 1")
        };
        let log_out = async move || free.add_permits(1);
        let hang = async move || {
            slow.notify_one();
            pending::<()>().await;
        };
        let router = Router::new()
            .route("/session", post(log_in).delete(log_out))
            .route(
                "/page",
                get(async |sent: HeaderMap| {
                    String::from_utf8_lossy(sent["token"].as_bytes()).into_owned()
                }),
            )
            .route("/slow", get(hang));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        address
    }

    #[tokio::test]
    async fn a_session_is_logged_out_also_when_its_caller_goes_away() -> Result<(), AnyError> {
        let slow = Arc::new(Notify::new());
        let service = service(slow.clone()).await;
        let page = async |path| {
            let work = async |session: &mut Session| session.send(Method::GET, path).await;
            session(service).with(work).await
        };
        assert_eq!(page("/page").await?, "token 1");
        assert!(
            page("/missing")
                .await
                .unwrap_err()
                .to_string()
                .contains("404")
        );

        tokio::select! {
            _ = page("/slow") => unreachable!("it is never answered"),
            () = slow.notified() => {} // the request is with the service: the caller goes away
        }
        detached::drain().await;
        assert_eq!(page("/page").await?, "token 1"); // no session is left
        Ok(())
    }
}
