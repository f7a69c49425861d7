//! A service that starts up, serves one request, and is stopped at each of ten moments.
//!
//! The service holds a temporary directory, an SQLite pool in that directory, in some runs a
//! metrics file, a listener and some background tasks. `shutdown::run` ends the service, and waits
//! until all of these are closed. Each run is a process of its own, and prints as a tree what was
//! opened and closed. The program ends with the exit code 0 only if nothing was left open in any
//! run. The service is in this file; `run.rs` watches a run.
//!
//! ```sh
//! cargo run --example service_startup
//! ```

#![forbid(unsafe_code)]

mod run;

use std::env;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as BlockingStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_context_manager::shutdown::{How, Times};
use async_context_manager::{Tasks, contexts::tasks, prelude::*, report};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::run::{MOMENTS, Run};

type AnyError = Box<dyn Error + Send + Sync>;

#[async_context]
async fn directory(run: Arc<Run>) -> Result<PathBuf, AnyError> {
    run.pass(0).await;
    let directory = TempDir::new()?;
    let path = directory.path().to_owned();
    run.opens("directory", {
        let path = path.clone();
        move || !path.exists()
    });
    let (_, outcome) = yield_!(path);
    directory.close()?;
    run.closes("directory", outcome);
    Ok(())
}

#[async_context]
async fn database(run: Arc<Run>, path: PathBuf) -> Result<SqlitePool, AnyError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        // A task that is aborted in a statement leaves the statement to a thread of sqlx, which the
        // pool does not wait for. That thread must not create a journal in a directory that is
        // being removed.
        .journal_mode(SqliteJournalMode::Memory)
        .create_if_missing(true);
    run.pass(1).await;
    let pool = SqlitePool::connect_with(options).await?;
    run.opens("database", {
        let pool = pool.clone();
        move || pool.is_closed()
    });
    sqlx::query("CREATE TABLE requests (line TEXT)")
        .execute(&pool)
        .await?;
    let (pool, outcome) = yield_!(pool);
    run.pass(9).await;
    pool.close().await;
    run.closes("database", outcome);
    Ok(())
}

#[async_context]
async fn metrics_file(run: Arc<Run>, path: PathBuf) -> Result<File, AnyError> {
    run.pass(2).await;
    let file = File::create(path).await?;
    // Drops after the file, as the locals of a function do.
    let is_open = Arc::new(());
    run.opens("metrics", {
        let is_open = Arc::downgrade(&is_open);
        move || is_open.strong_count() == 0
    });
    let (mut file, outcome) = yield_!(file);
    run.pass(8).await;
    file.flush().await?;
    run.closes("metrics", outcome);
    Ok(())
}

#[async_context]
async fn listener(run: Arc<Run>) -> Result<TcpListener, AnyError> {
    run.pass(3).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    run.opens("listener", move || {
        BlockingStream::connect(address).is_err()
    });
    let (listener, outcome) = yield_!(listener);
    drop(listener);
    run.closes("listener", outcome);
    Ok(())
}

/// The library's own task group, noted in the tree.
#[async_context]
async fn background(run: Arc<Run>) -> Result<Tasks<AnyError>, AnyError> {
    let mut group = tasks();
    let spawner = group.enter().await?;
    run.opens("tasks", || true);
    let (spawner, outcome) = yield_!(spawner);
    let ended = group.exit(spawner, outcome).await;
    run.closes("tasks", outcome);
    ended
}

async fn serve_one_request(run: &Arc<Run>) -> Result<(), AnyError> {
    let metrics = |directory: &Path| {
        let path = directory.join("metrics.txt");
        run.wants_metrics.then(|| metrics_file(run.clone(), path))
    };
    async_with!(
        directory = directory(run.clone()),
        pool = database(run.clone(), directory.join("service.db")),
        metrics = metrics(directory),
        listener = listener(run.clone()),
        tasks = background(run.clone())
        => {
            let (journal, lines) = mpsc::channel(8);
            tasks.spawn(run.clone().counted(keep_journal(pool.clone(), lines)));
            tasks.spawn(run.clone().counted(ask(run.clone(), listener.local_addr()?)));
            run.pass(4).await;

            let (mut client, _) = listener.accept().await?;
            run.pass(5).await;
            let name = read_line(&mut client).await?;
            journal.send(name.clone()).await?;
            run.pass(6).await;
            client.write_all(format!("welcome, {name}\n").as_bytes()).await?;
            if let Some(metrics) = metrics {
                metrics.write_all(b"requests 1\n").await?;
            }
            run.pass(7).await;
            Ok(())
        },
    )
}

/// A background task: writes what it receives to the database, until no more can come.
async fn keep_journal(pool: SqlitePool, mut lines: mpsc::Receiver<String>) -> Result<(), AnyError> {
    while let Some(line) = lines.recv().await {
        let insert = sqlx::query("INSERT INTO requests VALUES (?)").bind(line);
        insert.execute(&pool).await?;
    }
    Ok(())
}

/// Another background task: the client, over loopback. If the service is stopped, it hangs up, and
/// that is no error.
async fn ask(run: Arc<Run>, address: SocketAddr) -> Result<(), AnyError> {
    let answer: Result<String, AnyError> = async {
        let mut service = TcpStream::connect(address).await?;
        service.write_all(b"Ada\n").await?;
        read_line(&mut service).await
    }
    .await;
    if answer.is_ok_and(|answer| answer == "welcome, Ada") {
        run.is_answered.store(true, Ordering::Relaxed);
    }
    Ok(())
}

async fn read_line(stream: &mut TcpStream) -> Result<String, AnyError> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8(line)?),
            byte => line.push(byte),
        }
    }
}

/// Runs the service, and ends it at its moment, as a signal would. The exit code says whether
/// nothing is left.
async fn run_and_check(stopped_at: Option<usize>) -> ExitCode {
    static REPORTS: AtomicUsize = AtomicUsize::new(0);
    report::set_hook(|report| {
        REPORTS.fetch_add(1, Ordering::Relaxed);
        eprintln!("{report}");
    });
    let run = Arc::new(Run {
        stopped_at,
        wants_metrics: stopped_at.is_none_or(|moment| moment % 2 == 0),
        ..Run::default()
    });
    // Without a grace, the service is dropped wherever it is. What it holds is closed in the
    // background, and waited for.
    let times = Times::new().grace(Duration::ZERO);
    let ended = times.run(serve_one_request(&run)).await;

    let mut troubles = run.troubles();
    match (ended.how(), stopped_at.map(|moment| MOMENTS[moment])) {
        (How::Dropped, Some(moment)) => println!("stopped {moment}:"),
        (How::ByItself, None) => println!("not stopped:"),
        (how, moment) => troubles.push(format!("it ended {how:?}, {moment:?}")),
    }
    for line in &run.tree().lines {
        println!("  {line}");
    }
    if let Some(Err(error)) = ended.into_output() {
        troubles.push(error.to_string());
    }
    for trouble in &troubles {
        println!("  !! {trouble}");
    }
    if troubles.is_empty() && REPORTS.load(Ordering::Relaxed) == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the service once for each moment, and once to its end: each time in a process of its own,
/// because a program ends only once.
fn run_all() -> Result<ExitCode, AnyError> {
    let mut is_clean = true;
    for moment in (0..MOMENTS.len()).map(Some).chain([None]) {
        let moment = moment.map_or("never".to_owned(), |moment| moment.to_string());
        let status = Command::new(env::current_exe()?).arg(moment).status()?;
        is_clean &= status.success();
    }
    if is_clean {
        println!("nothing was left open in any of {} runs", MOMENTS.len() + 1);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

#[tokio::main]
async fn main() -> Result<ExitCode, AnyError> {
    match env::args().nth(1).as_deref() {
        None => run_all(),
        Some("never") => Ok(run_and_check(None).await),
        Some(moment) => match moment.parse() {
            Ok(moment) if moment < MOMENTS.len() => Ok(run_and_check(Some(moment)).await),
            _ => Err(format!("there is no moment `{moment}`").into()),
        },
    }
}
