//! A page that Prometheus scrapes (how often each context was entered, how it ended, how long each
//! part took), and a page for operators with what is open now.

use std::io;
use std::time::Duration;

use async_context_manager::{detached, observe, prelude::*};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

/// Called at the start of the program.
fn install() -> PrometheusHandle {
    let prometheus = PrometheusBuilder::new().install_recorder();
    observe::set_observer(observe::meter);
    observe::set_listing(true);
    prometheus.expect("there is no other recorder")
}

fn operations(prometheus: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(async move || prometheus.render()))
        .route("/contexts", get(async || observe::open().to_string()))
}

#[async_context]
async fn session() -> io::Result<()> {
    let ((), _) = yield_!(());
    sleep(Duration::from_millis(10)).await;
    Ok(())
}

async fn page(router: &Router, path: &str) -> String {
    let request = Request::get(path).body(Body::empty());
    let response = router.clone().oneshot(request.unwrap()).await.unwrap();
    let page = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(page.to_vec()).unwrap()
}

#[tokio::test]
async fn each_context_is_on_the_page_by_its_name() {
    let router = operations(install());

    session().with(async |()| Ok(())).await.unwrap();
    let hangs = session().with(async |()| std::future::pending::<io::Result<()>>().await);
    let _ = timeout(Duration::from_millis(1), hangs).await;

    let contexts = page(&router, "/contexts").await;
    assert!(contexts.contains("session: exiting for "), "{contexts}");

    detached::drain().await;
    let metrics = page(&router, "/metrics").await;
    for line in [
        r#"async_context_enters_total{context="recipes::prometheus::session",entered="true"} 2"#,
        r#"async_context_open{context="recipes::prometheus::session"} 0"#,
        r#"async_context_detached_total{context="recipes::prometheus::session"} 1"#,
        r#"async_context_exit_seconds_count{context="recipes::prometheus::session"} 2"#,
        r#"outcome="completed",failed="false",detached="false"} 1"#,
        r#"outcome="cancelled",failed="false",detached="true"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
