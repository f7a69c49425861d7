//! Tests the program `web_service`, run as a user runs it, with clients of which many hang up.

#![cfg(unix)]
#![forbid(unsafe_code)]

#[path = "../test_fixtures/fixture.rs"]
mod fixture;
mod servers;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use async_context_manager::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{AnyConnection, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, yield_now};

use fixture::{AnyError, file_database, server_database};
use servers::url_of;

const REQUESTS: i64 = 1_000;
const CLIENTS: i64 = 32;
const STOCK: i64 = 1_000_000;

/// Far longer than anything takes that ends at all.
const PATIENCE: Duration = Duration::from_mins(1);

/// The built program. `cargo test` and `cargo nextest run` build a package's examples before they
/// run its tests; with `--test` alone they do not.
fn program() -> Command {
    let mut path = std::env::current_exe().expect("a test knows its own path");
    path.pop();
    path.set_file_name("examples");
    path.push("web_service");
    let advice = "run `cargo build --example web_service` first";
    assert!(path.exists(), "no {}: {advice}", path.display());
    Command::new(path)
}

/// A running service. It is killed if a test forgets it, or fails.
struct Service {
    process: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Service {
    fn start(url: &str, options: &[&str]) -> Result<Self, AnyError> {
        let stock = STOCK.to_string();
        let mut process = program()
            .args([
                "--listen",
                "127.0.0.1:0",
                "--database-url",
                url,
                "--stock",
                &stock,
            ])
            .args(options)
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut stdout = BufReader::new(process.stdout.take().ok_or("stdout is piped")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.ok_or("it says where it listens")?.parse()?;
        Ok(Self {
            process,
            stdout,
            address,
        })
    }

    fn terminate(&self) -> Result<(), AnyError> {
        let kill = format!("kill -s TERM {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status()?.success());
        Ok(())
    }

    /// Waits for the end of the service, which leaves nothing undone.
    async fn ended(mut self) -> Result<(), AnyError> {
        let waited = tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            self.stdout.read_to_string(&mut rest)?;
            let status = self.process.wait()?;
            assert_eq!((status.code(), &*rest), (Some(0), ""));
            Ok(())
        });
        tokio::time::timeout(PATIENCE, waited).await??
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // If all went well, it has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect(address: SocketAddr, number: i64, then: &str) -> Result<TcpStream, AnyError> {
    let mut client = TcpStream::connect(address).await?;
    let request = format!(
        "POST /orders/{number}{then} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await?;
    Ok(client)
}

/// The status of the answer, and its text.
async fn answer(client: &mut TcpStream) -> Result<(u16, String), AnyError> {
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;
    let (head, text) = answer
        .split_once("\r\n\r\n")
        .ok_or("an answer has a head")?;
    let status = head
        .split(' ')
        .nth(1)
        .ok_or("a head has a status")?
        .parse()?;
    Ok((status, text.into()))
}

/// What a client knows about its order.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Taken,
    Refused(u16),
    /// Nothing: the client has hung up.
    Nothing,
}

/// One client. Its number decides everything that it does, but not when the service notices.
async fn client(address: SocketAddr, number: i64) -> Result<Known, AnyError> {
    let mut random = SmallRng::seed_from_u64(number.unsigned_abs());
    let hangs_up = random.random_bool(0.3);
    let then = match random.random_range(0..100) {
        0..5 => "?then=fail",
        5..10 => "?then=panic",
        10..13 => "?then=hang",
        _ => "",
    };
    let mut client = connect(address, number, then).await?;
    if !hangs_up {
        return Ok(match answer(&mut client).await? {
            (200, text) => {
                assert_eq!(text, format!("order {number} is taken\n"));
                Known::Taken
            }
            (status, _) => Known::Refused(status),
        });
    }
    if random.random_bool(0.1) {
        // The client is in the middle of the answer.
        client.read_u8().await?;
    } else {
        for _ in 0..random.random_range(0..3_000) {
            yield_now().await;
        }
    }
    Ok(Known::Nothing)
}

/// The numbers of the committed orders, once no transaction is open any more.
async fn committed(url: &str) -> Result<BTreeSet<i64>, AnyError> {
    let mut connection = AnyConnection::connect(url).await?;
    if connection.backend_name() == "PostgreSQL" {
        let question = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        let begun = Instant::now();
        while sqlx::query_scalar::<_, i64>(question)
            .fetch_one(&mut connection)
            .await?
            > 0
        {
            assert!(
                begun.elapsed() < PATIENCE,
                "a session is idle in transaction"
            );
            yield_now().await;
        }
    } else {
        // This only fails if nobody ends an open transaction.
        sqlx::raw_sql("PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE; ROLLBACK")
            .execute(&mut connection)
            .await?;
    }
    let orders: Vec<i64> = sqlx::query_scalar("SELECT number FROM orders")
        .fetch_all(&mut connection)
        .await?;
    let pieces: i64 = sqlx::query_scalar("SELECT pieces FROM stock")
        .fetch_one(&mut connection)
        .await?;
    assert_eq!(i64::try_from(orders.len())?, STOCK - pieces);
    connection.close().await?;
    Ok(orders.into_iter().collect())
}

async fn orders_agree_with_answers(url: &str) -> Result<(), AnyError> {
    sqlx::any::install_default_drivers();
    let service = Service::start(url, &["--time-limit", "100"])?;
    let address = service.address;
    let mut clients = JoinSet::new();
    for first in 0..CLIENTS {
        clients.spawn(async move {
            let mut known = Vec::new();
            for number in (first..REQUESTS).step_by(32) {
                known.push((number, client(address, number).await?));
            }
            Ok::<_, AnyError>(known)
        });
    }
    let mut known = Vec::new();
    while let Some(ended) = clients.join_next().await {
        known.extend(ended??);
    }
    let of = |is: fn(&Known) -> bool| -> BTreeSet<i64> {
        let numbers = known.iter().filter(|(_, known)| is(known));
        numbers.map(|(number, _)| *number).collect()
    };
    let taken = of(|known| *known == Known::Taken);
    let refused = of(|known| matches!(known, Known::Refused(_)));
    let unknown = of(|known| *known == Known::Nothing);

    let committed_at_first = committed(url).await?;
    // More requests at once than the service has connections: none of them is lost.
    let mut more = JoinSet::new();
    for number in REQUESTS..REQUESTS + CLIENTS {
        more.spawn(async move { answer(&mut connect(address, number, "").await?).await });
    }
    while let Some(answered) = more.join_next().await {
        assert_eq!(answered??.0, 200);
    }
    service.terminate()?;
    service.ended().await?;

    let nobody_read: BTreeSet<_> = committed_at_first.intersection(&unknown).copied().collect();
    println!(
        "{} committed: {} answers said so, {} were not read; {} refused; {} hung up",
        committed_at_first.len(),
        taken.len(),
        nobody_read.len(),
        refused.len(),
        unknown.len(),
    );
    assert_eq!(committed_at_first, &taken | &nobody_read);
    assert_eq!(taken.len() + refused.len() + unknown.len(), 1_000);
    assert!(refused.len() > 50 && unknown.len() > 250);
    assert!(!nobody_read.is_empty() && nobody_read.len() < unknown.len());
    assert_eq!(committed(url).await?.len(), committed_at_first.len() + 32);
    Ok(())
}

/// Stops the service while some handlers hang, and while some clients have not sent a request.
async fn stops_within_its_limit(url: &str) -> Result<(), AnyError> {
    sqlx::any::install_default_drivers();
    let limit = Duration::from_secs(4);
    let options = ["--time-limit", "3600000", "--shutdown-limit", "4000"];
    let service = Service::start(url, &options)?;
    let address = service.address;
    assert_eq!(answer(&mut connect(address, 1, "").await?).await?.0, 200);
    let mut hanging = connect(address, 2, "?then=hang").await?;
    let mut silent = TcpStream::connect(address).await?;
    let mut half = TcpStream::connect(address).await?;
    half.write_all(b"POST /orders/3 HTTP/1.1\r\nHo").await?;
    // The transaction is open in the database.
    hangs_in_a_transaction(url).await?;

    service.terminate()?;
    let begun = Instant::now();
    let (status, text) = answer(&mut hanging).await?;
    assert_eq!(
        (status, &*text),
        (503, "the service stops; nothing was ordered\n")
    );
    service.ended().await?;
    let took = begun.elapsed();
    assert!(took < limit, "{took:?}");
    assert_eq!(committed(url).await?, [1].into());
    assert!(silent.read_u8().await.is_err() && half.read_u8().await.is_err());
    Ok(())
}

async fn hangs_in_a_transaction(url: &str) -> Result<(), AnyError> {
    let mut connection = AnyConnection::connect(url).await?;
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no transaction was opened");
        let is_open = if connection.backend_name() == "PostgreSQL" {
            let question = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state = 'idle in transaction'";
            sqlx::query_scalar::<_, i64>(question)
                .fetch_one(&mut connection)
                .await?
                == 1
        } else {
            let try_it = "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK";
            sqlx::raw_sql(try_it)
                .execute(&mut connection)
                .await
                .is_err()
        };
        if is_open {
            return Ok(connection.close().await?);
        }
        yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sqlite_orders_agree_with_answers_where_clients_hang_up() -> Result<(), AnyError> {
    let file = file_database();
    file.with(async |url| orders_agree_with_answers(url).await)
        .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn with_postgresql_orders_agree_with_answers_where_clients_hang_up() -> Result<(), AnyError> {
    let fresh = server_database(url_of("DATABASE_URL"));
    fresh
        .with(async |url| orders_agree_with_answers(url).await)
        .await
}

#[tokio::test]
async fn with_sqlite_it_stops_within_its_limit() -> Result<(), AnyError> {
    let file = file_database();
    file.with(async |url| stops_within_its_limit(url).await)
        .await
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn with_postgresql_it_stops_within_its_limit() -> Result<(), AnyError> {
    let fresh = server_database(url_of("DATABASE_URL"));
    fresh
        .with(async |url| stops_within_its_limit(url).await)
        .await
}

#[test]
fn help_tells_of_every_option() -> Result<(), AnyError> {
    let output = program().arg("--help").output()?;
    let help = String::from_utf8(output.stdout)?;
    for option in [
        "--listen",
        "--database-url",
        "--stock",
        "--time-limit",
        "--shutdown-limit",
    ] {
        assert!(help.contains(option), "{option}:\n{help}");
    }
    Ok(())
}
