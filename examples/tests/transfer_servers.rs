//! Tests the transfers of `transfer_funds` on PostgreSQL and MariaDB: given up at any moment, and
//! with the server's end of their connections killed.
//!
//! Each test has a database of its own on the server of `DATABASE_URL` or `MYSQL_URL`.

#![forbid(unsafe_code)]

#[path = "../transfer_funds/bank.rs"]
mod bank;
#[path = "../transfer_funds/connection.rs"]
mod connection;
#[path = "../transfer_funds/database_url.rs"]
mod database_url;
#[path = "../test_fixtures/fixture.rs"]
mod fixture;
mod polls;
mod relay;
mod servers;
#[path = "../transfer_funds/table.rs"]
#[expect(dead_code, reason = "there is no table to print here")]
mod table;
#[path = "../transfer_funds/transfer.rs"]
mod transfer;
#[path = "../transfer_funds/trouble.rs"]
#[expect(dead_code, reason = "the troubles are others here")]
mod trouble;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_context_manager::detached;
use async_context_manager::prelude::*;
use async_context_manager::report::{self, Report};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use bank::{Account, Bank, Transfer, database};
use connection::Lent;
use fixture::{AnyError, server_database};
use polls::poll_at_most;
use relay::relayed;
use servers::url_of;
use table::Kind;
use transfer::transfer;

const ACCOUNTS: i64 = 100;
const CENTS: i64 = 10_000;
const TRANSFERS: usize = 10_000;
const AT_A_TIME: usize = 32;

/// As many polls as the longest transfers need here: a transfer that is given up is given up
/// before.
const POLLS: std::ops::Range<usize> = 0..14;

/// Reports, and exits in the background, belong to the process: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The reports, except those about each transfer that was given up.
static REPORTS: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

fn note(report: &Report) {
    if !transfer::is_of_one_given_up(report) {
        let mut reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push(format!("{:?}: {report}", report.kind()));
    }
}

fn reported() -> Vec<String> {
    let mut reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *reports)
}

/// What the caller of a transfer was told.
enum Told {
    Kind(Kind),
    Error(sqlx::Error),
    /// Nothing: the transfer was given up.
    Nothing,
}

/// Opens a bank on the server of this variable, with its accounts.
async fn on_server(
    variable: &str,
    is_relayed: bool,
    body: impl AsyncFnOnce(&Bank) -> Result<(), AnyError>,
) {
    let _alone = ALONE.lock().await;
    report::set_hook(note);
    let ended = server_database(url_of(variable)).with_local(async |url| {
        let url = if is_relayed {
            relayed(url).await?
        } else {
            url.clone()
        };
        let bank = database(Some(url.parse()?)).err_into();
        bank.with_local(async |bank| {
            let account = |id| Account {
                id,
                owner: format!("owner {id}"),
                balance: CENTS,
            };
            let accounts: Vec<_> = (0..ACCOUNTS).map(account).collect();
            bank.open_accounts(&accounts).await?;
            body(bank).await
        })
        .await
    });
    // Far more than the test takes, so that nothing can hang.
    let ended = tokio::time::timeout(Duration::from_mins(10), ended).await;
    ended.expect("it ends").expect("nothing fails");
}

/// Returns one of the transfers, and its random numbers, both determined by its number.
fn order(number: usize) -> (Transfer, SmallRng) {
    let mut random = SmallRng::seed_from_u64(number as u64);
    let from = random.random_range(0..ACCOUNTS);
    let transfer = Transfer {
        id: i64::try_from(number).expect("they are few"),
        from,
        to: (from + random.random_range(1..ACCOUNTS)) % ACCOUNTS,
        amount: random.random_range(1..CENTS / 2),
        note: format!("number {number}"),
    };
    (transfer, random)
}

async fn run(bank: &Bank, order: &Transfer, polls: usize) -> Told {
    let no_limit = Duration::from_hours(1);
    match poll_at_most(polls, transfer(bank, order, None, no_limit)).await {
        None => Told::Nothing,
        Some(Ok(kind)) => Told::Kind(kind),
        Some(Err(error)) => Told::Error(error),
    }
}

/// Runs all transfers, about a third of them dropped after a random number of polls.
async fn storm(bank: &Bank, kill_at_each: Option<usize>) -> Result<BTreeMap<i64, Told>, AnyError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (bank, next) = (bank.clone(), Arc::clone(&next));
        workers.spawn(async move {
            let mut told = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= TRANSFERS {
                    return told;
                }
                if kill_at_each.is_some_and(|each| number % each == each - 1) {
                    // Another killer may choose its own connection.
                    let _ = kill_one(&bank).await;
                }
                let (transfer, mut random) = order(number);
                let is_given_up = random.random_bool(0.3);
                let polls = if is_given_up {
                    random.random_range(POLLS)
                } else {
                    usize::MAX
                };
                told.push((transfer.id, run(&bank, &transfer, polls).await));
            }
        });
    }
    let mut told = BTreeMap::new();
    while let Some(ended) = workers.join_next().await {
        told.extend(ended?);
    }
    detached::drain().await;
    Ok(told)
}

/// Kills the server's end of a connection of the bank.
async fn kill_one(bank: &Bank) -> Result<(), sqlx::Error> {
    let mut killer = bank.pool.acquire().await?;
    match killer.lent() {
        Lent::Sqlite(_) => unreachable!("it is no server"),
        Lent::Postgres(_) => {
            killer
                .run(
                    "SELECT pg_terminate_backend(pid) FROM (
                        SELECT pid FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()
                        ORDER BY random() LIMIT 1) one",
                )
                .await
        }
        Lent::MariaDb(_) => {
            killer
                .run(
                    "BEGIN NOT ATOMIC
                        DECLARE one BIGINT DEFAULT (SELECT id FROM information_schema.processlist
                            WHERE db = database() AND id <> connection_id() ORDER BY rand() LIMIT 1);
                        IF one IS NOT NULL THEN KILL one; END IF;
                    END",
                )
                .await
        }
    }
}

/// Checks that the books balance, agree with what was told, and that every connection of the pool
/// answers.
async fn check(bank: &Bank, told: &BTreeMap<i64, Told>) -> Result<(), AnyError> {
    assert_eq!(bank.open_transactions().await?, 0);

    let (balances, journal) = (bank.balances().await?, bank.journal().await?);
    assert_eq!(balances.values().sum::<i64>(), ACCOUNTS * CENTS);
    let mut replayed: BTreeMap<_, _> = (0..ACCOUNTS).map(|id| (id, CENTS)).collect();
    for Transfer {
        from, to, amount, ..
    } in journal.values()
    {
        *replayed.entry(*from).or_default() -= amount;
        *replayed.entry(*to).or_default() += amount;
    }
    assert_eq!(balances, replayed);

    let refusals = bank.refusals().await?;
    for (id, told) in told {
        let (is_done, refusal) = (
            journal.contains_key(id),
            refusals.get(id).map(String::as_str),
        );
        match told {
            Told::Kind(Kind::Transferred) => assert!(is_done && refusal.is_none(), "{id}"),
            Told::Kind(kind) => assert!(!is_done && refusal == Some(kind.label()), "{id}"),
            Told::Error(_) | Told::Nothing => assert!(!is_done || refusal.is_none(), "{id}"),
        }
    }
    Ok(())
}

/// Counts what the callers were told, and returns the reports made meanwhile.
fn sum_up(told: &BTreeMap<i64, Told>) -> (usize, usize, usize, Vec<String>) {
    let count = |is: fn(&Told) -> bool| told.values().filter(|told| is(told)).count();
    let answers = count(|told| matches!(told, Told::Kind(_)));
    let errors = count(|told| matches!(told, Told::Error(_)));
    let given_up = count(|told| matches!(told, Told::Nothing));
    let reports = reported();
    println!(
        "{answers} answers, {errors} errors, {given_up} given up, {} reports",
        reports.len()
    );
    assert_eq!(answers + errors + given_up, TRANSFERS);
    (answers, errors, given_up, reports)
}

async fn ten_thousand_transfers(variable: &str) {
    on_server(variable, false, async |bank| {
        let told = storm(bank, None).await?;
        check(bank, &told).await?;
        let (answers, errors, given_up, reports) = sum_up(&told);
        assert_eq!(errors, 0);
        assert_eq!(reports, [""; 0]);
        assert!(answers > TRANSFERS / 2 && given_up > TRANSFERS / 10);
        Ok(())
    })
    .await;
}

async fn ten_thousand_transfers_and_a_killer(variable: &str) {
    on_server(variable, false, async |bank| {
        let told = storm(bank, Some(100)).await?;
        check(bank, &told).await?;
        let (answers, errors, _, reports) = sum_up(&told);
        // A connection that is killed between two transfers is replaced silently.
        assert!(errors > 0 && answers > TRANSFERS / 3);
        // An exit without a connection fails, but each exit ends.
        for report in reports {
            let is_of_an_error = ["EnterFailed", "ExitFailed", "BodyFailed"]
                .iter()
                .any(|kind| report.starts_with(kind));
            assert!(is_of_an_error, "{report}");
        }
        for told in told.values() {
            if let Told::Error(error) = told {
                let is_of_the_connection = match error {
                    sqlx::Error::Io(_) => true,
                    sqlx::Error::Database(error) => {
                        matches!(error.code().as_deref(), Some("57P01" | "70100" | "08S01"))
                    }
                    _ => false,
                };
                assert!(is_of_the_connection, "{error:?}");
            }
        }
        Ok(())
    })
    .await;
}

/// Drops the same transfer after 0, 1, 2, … polls, until it ends by itself.
async fn one_transfer_dropped_everywhere(variable: &str) {
    on_server(variable, true, async |bank| {
        let mut told = BTreeMap::new();
        for polls in 0.. {
            let (mut transfer, _) = order(1);
            transfer.id = polls;
            let ended = run(bank, &transfer, usize::try_from(polls)?).await;
            let is_last = !matches!(ended, Told::Nothing);
            told.insert(polls, ended);
            detached::drain().await;
            check(bank, &told).await?;
            assert_eq!(reported(), [""; 0], "after {polls} polls");
            if is_last {
                println!("{polls} polls");
                assert!(polls > 10, "it has more awaits than that");
                return Ok(());
            }
        }
        Ok(())
    })
    .await;
}

/// Runs the program as a user runs it. When it runs again, it does not touch what it has left.
async fn the_program(variable: &str) {
    let mut program = std::env::current_exe().expect("a test knows its own path");
    program.pop();
    program.set_file_name("examples");
    program.push("transfer_funds");
    let run = |url: &str| {
        let output = Command::new(&program)
            .args(["--database-url", url])
            .output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok::<_, AnyError>((output.status.success(), stdout, stderr))
    };
    let ended = server_database(url_of(variable)).with(async |url| {
        let (is_well, stdout, stderr) = run(url)?;
        assert!(is_well, "{stdout}{stderr}");
        let last = "total before = 35905807, total after = 35905807, open transactions = 0\n";
        assert!(stdout.ends_with(last), "{stdout}");

        let (is_well, stdout, stderr) = run(url)?;
        assert!(!is_well && !stdout.contains("total"), "{stdout}");
        assert!(stderr.contains("it has 3 tables"), "{stderr}");
        Ok(())
    });
    ended.await.expect("nothing fails");
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_program_works_on_postgresql() {
    the_program("DATABASE_URL").await;
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn the_program_works_on_mariadb() {
    the_program("MYSQL_URL").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn on_postgresql_10_000_transfers_given_up_at_random_lose_nothing() {
    ten_thousand_transfers("DATABASE_URL").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB"]
async fn on_mariadb_10_000_transfers_given_up_at_random_lose_nothing() {
    ten_thousand_transfers("MYSQL_URL").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn on_postgresql_10_000_transfers_lose_nothing_while_backends_are_killed() {
    ten_thousand_transfers_and_a_killer("DATABASE_URL").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB"]
async fn on_mariadb_10_000_transfers_lose_nothing_while_connections_are_killed() {
    ten_thousand_transfers_and_a_killer("MYSQL_URL").await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn on_postgresql_a_transfer_may_be_given_up_at_each_of_its_awaits() {
    one_transfer_dropped_everywhere("DATABASE_URL").await;
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn on_mariadb_a_transfer_may_be_given_up_at_each_of_its_awaits() {
    one_transfer_dropped_everywhere("MYSQL_URL").await;
}
