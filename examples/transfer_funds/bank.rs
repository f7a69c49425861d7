//! The bank: an SQLite database, and the contexts that keep it whole.
//!
//! There are three of them, each one function, and each undoes what it did, whatever happens while
//! it is open: [`database`], [`writers_turn`] and [`transaction`].

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_context_manager::prelude::*;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, Transaction};
use tempfile::TempDir;
use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// More than one writer at a time SQLite does not have; the others are for readers.
const CONNECTIONS: u32 = 8;

/// For a database that other programs use as well.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(5);

/// `STRICT` keeps SQLite from turning a sum that does not fit an integer into a float.
const SCHEMA: &str = "
    CREATE TABLE accounts (
        id      INTEGER PRIMARY KEY,
        owner   TEXT    NOT NULL,
        balance INTEGER NOT NULL CHECK (balance >= 0)
    ) STRICT;
    CREATE TABLE journal (
        id       INTEGER PRIMARY KEY,
        debtor   INTEGER NOT NULL REFERENCES accounts,
        creditor INTEGER NOT NULL REFERENCES accounts,
        amount   INTEGER NOT NULL CHECK (amount > 0),
        note     TEXT    NOT NULL
    ) STRICT;
";

/// An account, as it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) owner: String,
    /// In cents.
    pub(crate) balance: i64,
}

/// An order to move money, and a row of the journal once that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) id: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// In cents.
    pub(crate) amount: i64,
    pub(crate) note: String,
}

/// A file of the user's to keep the bank in.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseUrl {
    url: String,
    options: SqliteConnectOptions,
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        if !url.starts_with("sqlite:") {
            return Err("it begins with `sqlite:`, for example `sqlite://bank.db`".into());
        }
        let options = SqliteConnectOptions::from_str(url).map_err(|error| error.to_string())?;
        let url = url.into();
        Ok(Self { url, options })
    }
}

/// Why there is no database to work with.
#[derive(Debug, Error)]
pub(crate) enum DatabaseError {
    #[error(
        "the database {url} is in use already: it has {tables} tables. Nothing in it was changed. \
         Name a file that does not exist yet, or move this one away first"
    )]
    InUse { url: String, tables: i64 },
    #[error("the database {url} has no file, and a bank that forgets is none: name a file")]
    NoFile { url: String },
    #[error(
        "can't open the database {url}: {error}. Is it an SQLite file in a directory that \
             you can write to?"
    )]
    CannotOpen { url: String, error: sqlx::Error },
    #[error("the database failed: {0}")]
    Failed(#[from] sqlx::Error),
    #[error("the temporary directory of the database failed: {0}")]
    Directory(#[from] std::io::Error),
}

/// Opens the bank's database: the user's own, or one in a temporary directory that lasts as long as
/// the context.
#[async_context]
pub(crate) async fn database(url: Option<DatabaseUrl>) -> Result<Bank, DatabaseError> {
    let mut directory = None;
    let options = if let Some(url) = url {
        unused(url).await?
    } else {
        let directory = directory.insert(TempDir::with_prefix("transfer-funds-")?);
        SqliteConnectOptions::new().filename(directory.path().join("bank.db"))
    };
    let pool = connect(options).await?;

    let (bank, _) = yield_!(Bank::new(pool));

    // This waits until every connection is back and closed: then nobody has the files open.
    bank.pool.close().await;
    if let Some(directory) = directory {
        directory.close()?;
    }
    Ok(())
}

/// One writer's turn. SQLite has one writer at a time; those who queue here get their turns in
/// order and at once, where those who run into its lock sleep and try again.
#[async_context]
pub(crate) async fn writers_turn(bank: Bank) -> Result<OwnedMutexGuard<()>, sqlx::Error> {
    // Who gives up waiting has nothing to undo.
    let turn = cancellable!(bank.writer.lock_owned()).await;
    let (turn, _) = yield_!(turn);
    drop(turn);
    Ok(())
}

/// A transaction: committed if the body completes; rolled back if it fails, panics, or is cancelled.
#[async_context]
pub(crate) async fn transaction(bank: Bank) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
    // A plain `BEGIN` would take the lock with the first write, which may be too late for it.
    let tx = bank.pool.begin_with("BEGIN IMMEDIATE").await?;
    bank.open.fetch_add(1, Ordering::Relaxed);

    let (tx, outcome) = yield_!(tx);

    if outcome.is_completed() {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    bank.open.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

/// Looks at the user's file before anything is written to it.
async fn unused(
    DatabaseUrl { url, options }: DatabaseUrl,
) -> Result<SqliteConnectOptions, DatabaseError> {
    let looked_at = async {
        let mut connection = options.clone().create_if_missing(true).connect().await?;
        let found: (i64, String) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM sqlite_schema WHERE type = 'table'), file
             FROM pragma_database_list WHERE name = 'main'",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(found)
    };
    match looked_at.await {
        Ok((_, file)) if file.is_empty() => Err(DatabaseError::NoFile { url }),
        Ok((0, _)) => Ok(options),
        Ok((tables, _)) => Err(DatabaseError::InUse { url, tables }),
        Err(error) => Err(DatabaseError::CannotOpen { url, error }),
    }
}

async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // With WAL this is safe against a crash of the program.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(PATIENCE_WITH_OTHERS);
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .connect_with(options)
        .await?;
    match sqlx::raw_sql(SCHEMA).execute(&pool).await {
        Ok(_) => Ok(pool),
        Err(error) => {
            pool.close().await;
            Err(error)
        }
    }
}

/// A handle to the open database.
#[derive(Debug, Clone)]
pub(crate) struct Bank {
    pub(crate) pool: SqlitePool,
    writer: Arc<Mutex<()>>,
    /// Transactions that were entered, and not exited well yet.
    open: Arc<AtomicUsize>,
}

impl Bank {
    fn new(pool: SqlitePool) -> Self {
        Self {
            pool,
            writer: Arc::default(),
            open: Arc::default(),
        }
    }

    /// All of the accounts, or none.
    pub(crate) async fn open_accounts(&self, accounts: &[Account]) -> Result<(), sqlx::Error> {
        transaction(self.clone())
            .with_send(async |tx| {
                for account in accounts {
                    sqlx::query("INSERT INTO accounts (id, owner, balance) VALUES (?, ?, ?)")
                        .bind(account.id)
                        .bind(&account.owner)
                        .bind(account.balance)
                        .execute(&mut **tx)
                        .await?;
                }
                Ok(())
            })
            .await
    }

    /// Are there accounts to take the money from and to bring it to?
    pub(crate) async fn has_accounts_of(&self, transfer: &Transfer) -> Result<bool, sqlx::Error> {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM accounts WHERE id IN (?, ?)")
            .bind(transfer.from)
            .bind(transfer.to)
            .fetch_one(&self.pool)
            .await?;
        Ok(found == 2)
    }

    /// Has the transfer been committed?
    pub(crate) async fn has_in_journal(&self, transfer: &Transfer) -> Result<bool, sqlx::Error> {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM journal WHERE id = ?")
            .bind(transfer.id)
            .fetch_one(&self.pool)
            .await?;
        Ok(found == 1)
    }

    pub(crate) async fn balances(&self) -> Result<BTreeMap<i64, i64>, sqlx::Error> {
        let rows: Vec<(i64, i64)> = sqlx::query_as("SELECT id, balance FROM accounts")
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().collect())
    }

    pub(crate) async fn journal(&self) -> Result<BTreeMap<i64, Transfer>, sqlx::Error> {
        let rows: Vec<(i64, i64, i64, i64, String)> =
            sqlx::query_as("SELECT id, debtor, creditor, amount, note FROM journal")
                .fetch_all(&self.pool)
                .await?;
        let transfers = rows.into_iter().map(|(id, from, to, amount, note)| {
            let transfer = Transfer {
                id,
                from,
                to,
                amount,
                note,
            };
            (id, transfer)
        });
        Ok(transfers.collect())
    }

    /// How many transactions are open, by our own count and by SQLite's word, whichever is more.
    ///
    /// To be called when no work is under way: it takes every connection that the pool can have.
    pub(crate) async fn open_transactions(&self) -> Result<usize, sqlx::Error> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            // A connection that somebody has kept makes this fail, by the pool's time limit.
            connections.push(self.pool.acquire().await?);
        }
        let mut inside = 0;
        for connection in &mut connections {
            // The one thing that keeps SQLite from beginning is a transaction that has begun.
            inside += usize::from(!can_run("BEGIN; ROLLBACK", connection).await?);
        }
        if inside == 0 && !can_run("BEGIN EXCLUSIVE; ROLLBACK", &mut connections[0]).await? {
            // A writer whose connection is none of ours.
            inside = 1;
        }
        Ok(self.open.load(Ordering::Relaxed).max(inside))
    }
}

async fn can_run(
    statements: &'static str,
    connection: &mut SqliteConnection,
) -> Result<bool, sqlx::Error> {
    match sqlx::raw_sql(statements).execute(connection).await {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the money from the debtor. `false` if there is too little.
pub(crate) async fn debit(
    connection: &mut SqliteConnection,
    transfer: &Transfer,
) -> Result<bool, sqlx::Error> {
    let done =
        sqlx::query("UPDATE accounts SET balance = balance - ?1 WHERE id = ?2 AND balance >= ?1")
            .bind(transfer.amount)
            .bind(transfer.from)
            .execute(connection)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Brings the money to the creditor. `false` if it would be more than an account can hold.
pub(crate) async fn credit(
    connection: &mut SqliteConnection,
    transfer: &Transfer,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE accounts SET balance = balance + ?1
         WHERE id = ?2 AND balance <= 9223372036854775807 - ?1",
    )
    .bind(transfer.amount)
    .bind(transfer.to)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes down what was done.
pub(crate) async fn note_in_journal(
    connection: &mut SqliteConnection,
    transfer: &Transfer,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO journal (id, debtor, creditor, amount, note) VALUES (?, ?, ?, ?, ?)")
        .bind(transfer.id)
        .bind(transfer.from)
        .bind(transfer.to)
        .bind(transfer.amount)
        .bind(&transfer.note)
        .execute(connection)
        .await?;
    Ok(())
}
