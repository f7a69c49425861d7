//! A context around each call of a `tower` service: here a permit, which is returned however the
//! call ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_context_manager::{detached, prelude::*};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[async_context]
async fn permit(gate: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, BoxError> {
    let permit = cancellable!(gate.acquire_owned()).await?;
    let (permit, _outcome) = yield_!(permit);
    drop(permit);
    Ok(())
}

#[derive(Clone)]
struct Limit(Arc<Semaphore>);

impl<S> Layer<S> for Limit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited {
            gate: self.0.clone(),
            inner,
        }
    }
}

#[derive(Clone)]
struct Limited<S> {
    gate: Arc<Semaphore>,
    inner: S,
}

impl<S, R> Service<R> for Limited<S>
where
    S: Service<R, Error: Into<BoxError>, Response: Send + 'static, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let answer = self.inner.call(request);
        let permit = permit(self.gate.clone());
        Box::pin(permit.with(async move |_| answer.await.map_err(Into::into)))
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_has_a_permit_and_gives_it_back() {
    let gate = Arc::new(Semaphore::new(1));
    let left = gate.clone();
    let answer = async |gate: Arc<Semaphore>, request| match request {
        "left" => Ok(gate.available_permits()),
        "wait" => std::future::pending().await,
        _ => Err::<_, BoxError>("no such request".into()),
    };
    let service = ServiceBuilder::new()
        .layer(Limit(gate.clone()))
        .service(service_fn(move |request| answer(left.clone(), request)));
    assert_eq!(service.clone().oneshot("left").await.unwrap(), 0);
    assert!(service.clone().oneshot("else").await.is_err());
    let call = timeout(Duration::from_secs(1), service.oneshot("wait"));
    assert!(call.await.is_err());
    detached::drain().await;
    assert_eq!(gate.available_permits(), 1);
}
