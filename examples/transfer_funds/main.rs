//! Thousands of bank transfers, many at a time, against a real database: whatever goes wrong, not
//! one cent and not one open transaction is lost.
//!
//! ```text
//! $ cargo run --example transfer_funds
//! examples/data/transfers.csv:47: rejected: the amount `12.50` is not a whole number
//! examples/data/transfers.csv:107: rejected: the transfer 91 is in line 92 already
//! …
//! … and 25 more; --verbose names them all
//!
//! 2,200 transfers between 220 accounts, 16 at a time, seed 1
//!
//! what happened                  transfers              cents
//! transferred                        1,811          8,718,405
//! too little money                     191      5,616,382,454
//! unknown account                       60            314,943
//! amount not above zero                 44                  -
//! to oneself                            38            176,884
//! malformed row                         35                  -
//! timed out                             10             82,730
//! panicked                              11             35,380
//! all                                2,200
//!
//! total before = 35905807, total after = 35905807, open transactions = 0
//! ```
//!
//! The rows that it rejects first are bad on purpose.
//!
//! By default the database is an SQLite file in a temporary directory. It can also be an empty
//! database on a PostgreSQL or MariaDB server:
//!
//! ```text
//! $ createdb bank
//! $ cargo run --example transfer_funds -- --database-url postgres://localhost/bank
//! ```
//!
//! A transfer is a block of code in a transaction, and the transaction is one function: `BEGIN`
//! above its `yield_!`, `COMMIT` or `ROLLBACK` below. In short (see `bank.rs`):
//!
//! ```text
//! #[async_context]
//! async fn transaction(bank: Bank) -> Result<Connection, sqlx::Error> {
//!     let mut tx = cancellable!(bank.pool.acquire()).await?;
//!     tx.begin().await?;
//!     let (tx, outcome) = yield_!(tx);
//!     if outcome.is_completed() { tx.commit().await } else { tx.rollback().await }
//! }
//! ```
//!
//! Inside it, the money is moved in a savepoint. That is a context as well, which borrows the
//! transaction: if the transfer is refused, that part is undone, and the transaction goes on and
//! writes the refusal into the books.
//!
//! The code that uses it (see `transfer.rs`) is a block that does not care how it may end. It ends
//! in every possible way:
//!
//! - some transfers are refused, because there is too little money: an error;
//! - some hit a slow check, between the debit and the credit, and their time limit drops them: a
//!   cancellation, whose exit nobody waits for;
//! - some panic, at the same place;
//! - and Ctrl-C aborts all those that have begun, wherever they stand. Try it. `shutdown::run`
//!   tells the program to end, and a second Ctrl-C ends it at once.
//!
//! The last line is the proof. The totals come from the balances. `audit.rs` replays the journal,
//! which each transaction also writes to, and compares it with the table, transfer by transfer. It
//! also asks the database whether a transaction is open. If anything does not fit, the program says
//! what, and does not exit with 0.
//!
//! | file | subject |
//! | --- | --- |
//! | `options.rs`, `database_url.rs`, `csv_files.rs` | what comes in: the command line, the two files |
//! | `connection.rs` | a connection to one of three databases, and when it may go back to its pool |
//! | `bank.rs` | the bank, and the four contexts around it |
//! | `transfer.rs` | one transfer, and how it ends |
//! | `traffic.rs` | all of them, many at a time |
//! | `trouble.rs` | what is thrown at them |
//! | `table.rs`, `audit.rs` | what comes out: what happened, and the proof |

#![forbid(unsafe_code)]

mod audit;
mod bank;
mod connection;
mod csv_files;
mod database_url;
mod options;
mod table;
mod traffic;
mod transfer;
mod trouble;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::report;
use async_context_manager::shutdown::{self, Ended};
use clap::Parser as _;
use indicatif::ProgressBar;
use thiserror::Error;

use crate::audit::Audit;
use crate::bank::DatabaseError;
use crate::csv_files::{BadRow, FileError};
use crate::options::Options;
use crate::table::{Kind, grouped};
use crate::traffic::Traffic;

/// How many bad rows are named without `--verbose`.
const NAMED_ROWS: usize = 10;

/// Why there is no result.
#[derive(Debug, Error)]
enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the database failed: {0}")]
    Query(#[from] sqlx::Error),
    #[error("can't write to stdout: {0}")]
    Output(io::Error),
    #[error("the books do not balance:\n  {}", .0.join("\n  "))]
    Books(Vec<String>),
    #[error(
        "{transfers} transfers and {exits} exits failed unexpectedly; see above. The books balance"
    )]
    Unexpected { transfers: usize, exits: usize },
}

#[tokio::main]
async fn main() -> Ended<ExitCode> {
    let options = Options::parse();
    trouble::silence_planned_panics();
    // Boxed, because the future is large, and `run` moves it.
    shutdown::run(Box::pin(app(options))).await
}

async fn app(options: Options) -> ExitCode {
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut options: Options) -> Result<(), Error> {
    let failed_exits = count_failed_exits();

    let accounts = options.accounts_file()?.accounts()?;
    let file = options.transfers_file()?;
    let transfers = file.transfers()?;
    name_bad_rows(&file.name, &transfers, options.verbose);
    let rows = transfers.len();
    say(&format!(
        "{} transfers between {} accounts, {} at a time, seed {}\n\n",
        grouped(rows),
        grouped(accounts.len()),
        options.workers,
        options.seed,
    ))?;

    let table = bank::database(options.database_url.take())
        .err_into()
        .with(async |bank| {
            bank.open_accounts(&accounts).await?;
            let progress = progress_bar(rows);
            let traffic = Traffic {
                bank,
                workers: options.workers.into(),
                seed: options.seed,
                time_limit: Duration::from_millis(options.time_limit),
                progress: &progress,
                verbose: options.verbose,
            };
            let table = traffic.run(transfers).await?;
            progress.finish_and_clear();

            let audit = Audit::of(bank, &accounts, rows, &table).await?;
            say(&format!("{table}\n{audit}\n"))?;
            if audit.findings.is_empty() {
                Ok(table)
            } else {
                Err(Error::Books(audit.findings))
            }
        })
        .await?;

    let transfers = table.count(Kind::Failed);
    let exits = failed_exits.load(Ordering::Relaxed);
    if transfers + exits > 0 {
        return Err(Error::Unexpected { transfers, exits });
    }
    Ok(())
}

/// Prints and counts what goes wrong where nobody waits for it any more.
fn count_failed_exits() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    report::set_hook(move |report| {
        // The others are about transfers that were given up, and the table already has those.
        if !transfer::is_of_one_given_up(report) && !trouble::is_planned(report) {
            counter.fetch_add(1, Ordering::Relaxed);
            eprintln!("error: {report}");
        }
    });
    count
}

fn name_bad_rows<T>(file: &str, rows: &[Result<T, BadRow>], all: bool) {
    let bad: Vec<_> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
    let named = if all { bad.len() } else { NAMED_ROWS };
    for row in bad.iter().take(named) {
        eprintln!("{file}:{}: rejected: {row}", row.line);
    }
    if bad.len() > named {
        eprintln!("… and {} more; --verbose names them all", bad.len() - named);
    }
}

/// Hidden if nobody would see it, or if it would end up in a file.
fn progress_bar(length: usize) -> ProgressBar {
    if io::stderr().is_terminal() && io::stdout().is_terminal() {
        ProgressBar::new(length as u64)
    } else {
        ProgressBar::hidden()
    }
}

/// Not `println!`, which panics where stdout is closed.
fn say(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Error::Output)
}
