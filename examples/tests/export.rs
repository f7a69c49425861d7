//! Tests the export, with clients that hang up in the middle.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

#[path = "../export/export.rs"]
mod export;
mod servers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_context_manager::{detached, report, swappable};
use axum::body::Bytes;
use export::{pool, service};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sqlx::postgres::PgPool;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

const REQUESTS: i64 = 2_000;
const ROWS: i64 = 2_500;
const CONNECTIONS: u32 = 8;

/// Returns the body of an answer on a connection of its own.
async fn get(address: SocketAddr, number: i64, rows: i64) -> Incoming {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    // The connection ends with the body.
    tokio::spawn(connection);
    let request = Request::get(format!("/exports/{number}/{rows}")).header("host", "test");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert!(answer.status().is_success());
    answer.into_body()
}

/// Three of ten clients hang up in the middle.
fn hangs_up(number: i64) -> bool {
    number % 10 < 3
}

async fn client(address: SocketAddr, number: i64) {
    if hangs_up(number) {
        // No client could read this to its end.
        let mut body = get(address, number, i64::MAX).await;
        assert!(body.frame().await.unwrap().is_ok());
    } else {
        let body = get(address, number, ROWS).await;
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(text.lines().map(str::parse).next_back(), Some(Ok(ROWS)));
        assert_eq!(i64::try_from(text.lines().count()), Ok(ROWS));
    }
}

/// The memory of this process, in kilobytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Each transaction ends as its client has seen it, and the pool remains intact, even if it is
/// replaced a hundred times meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn each_export_ends_as_its_client_has_seen_it() {
    report::set_hook(|report| panic!("{report}"));
    let name = format!("export_{}", std::process::id());
    let url = servers::url_of("DATABASE_URL");
    // Each test has a schema and an application name of its own.
    let own_url = format!("{url}?application_name={name}&options[search_path]={name}");
    let admin = PgPool::connect(&url).await.unwrap();
    let create = format!("CREATE SCHEMA {name}; CREATE TABLE {name}.exports (number bigint)");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create))
        .execute(&admin)
        .await
        .unwrap();

    let new = {
        let url = own_url.clone();
        move || pool(url.clone(), CONNECTIONS)
    };
    let pools = swappable(new.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, service(pools.clone()));
    let serving = serving.with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(async move { serving.await });

    let is_over = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (pools, is_over) = (pools.clone(), is_over.clone());
        tokio::spawn(async move {
            let mut swaps = 0;
            while !is_over.load(Ordering::Relaxed) && swaps < 100 {
                pools.replace(new.clone()).await.unwrap();
                swaps += 1;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            swaps
        })
    };
    let at_once = Arc::new(Semaphore::new(16));
    let mut clients = Vec::new();
    for number in 0..REQUESTS {
        let place = at_once.clone().acquire_owned().await.unwrap();
        clients.push(tokio::spawn(async move {
            client(address, number).await;
            drop(place);
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(swapping.await.unwrap() > 5);

    let before = memory();
    let rows: i64 = std::env::var("EXPORT_ROWS").map_or(500_000, |rows| rows.parse().unwrap());
    let mut body = get(address, REQUESTS, rows).await;
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    let grown = memory().saturating_sub(before);
    eprintln!("{rows} rows; memory before: {before} kB, grown by {grown} kB");
    assert!(grown < 16 * 1024, "{grown} kB");

    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    detached::drain().await;

    let exported = format!("SELECT number FROM {name}.exports ORDER BY number");
    let exported: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(exported))
        .fetch_all(&admin)
        .await
        .unwrap();
    let expected: Vec<i64> = (0..=REQUESTS)
        .filter(|number| *number == REQUESTS || !hangs_up(*number))
        .collect();
    assert_eq!(exported, expected);
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    let sessions: i64 = sqlx::query_scalar(sessions)
        .bind(&name)
        .fetch_one(&admin)
        .await
        .unwrap();
    assert_eq!(sessions, 0, "the pools are drained");
    let remove = format!("DROP SCHEMA {name} CASCADE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(remove))
        .execute(&admin)
        .await
        .unwrap();
    report::reset_hook();
    drop(pools);
}
