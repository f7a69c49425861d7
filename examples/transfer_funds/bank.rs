//! The bank: a database, and the contexts that keep it whole.
//!
//! There are four contexts, each of them one function, and each undoes what it did, whatever
//! happens while it is open: [`database`], [`writers_turn`], [`transaction`] and [`savepoint`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_context_manager::prelude::*;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::connection::{CONNECTIONS, Connection, Lent, Pool};
use crate::database_url::{DatabaseUrl, Options};

/// How long a server may take to notice that a connection was closed in the middle of a statement.
const PATIENCE_WITH_SERVERS: Duration = Duration::from_secs(10);

/// `STRICT` keeps SQLite from turning a sum that does not fit an integer into a float.
const SQLITE_SCHEMA: &str = "
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
    CREATE TABLE refusals (
        id     INTEGER PRIMARY KEY,
        reason TEXT    NOT NULL
    ) STRICT;
";

/// For PostgreSQL and MariaDB.
const SERVER_SCHEMA: &str = "
    CREATE TABLE accounts (
        id      BIGINT PRIMARY KEY,
        owner   TEXT   NOT NULL,
        balance BIGINT NOT NULL CHECK (balance >= 0)
    );
    CREATE TABLE journal (
        id       BIGINT PRIMARY KEY,
        debtor   BIGINT NOT NULL REFERENCES accounts (id),
        creditor BIGINT NOT NULL REFERENCES accounts (id),
        amount   BIGINT NOT NULL CHECK (amount > 0),
        note     TEXT   NOT NULL
    );
    CREATE TABLE refusals (
        id     BIGINT PRIMARY KEY,
        reason TEXT   NOT NULL
    );
";

/// An account, as it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) owner: String,
    /// In cents.
    pub(crate) balance: i64,
}

/// An order to move money, and a row of the journal once the money is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) id: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// In cents.
    pub(crate) amount: i64,
    pub(crate) note: String,
}

/// Why there is no database to work with.
#[derive(Debug, Error)]
pub(crate) enum DatabaseError {
    #[error(
        "the database {url} is in use already: it has {tables} tables. Nothing in it was changed. \
         Name one that does not exist yet, or is empty, or move this one away first"
    )]
    InUse { url: String, tables: i64 },
    #[error("the database {url} has no file, and a bank that forgets is none: name a file")]
    NoFile { url: String },
    #[error("can't open the database {url}: {error}. {advice}")]
    CannotOpen {
        url: String,
        error: sqlx::Error,
        advice: &'static str,
    },
    #[error("the database failed: {0}")]
    Failed(#[from] sqlx::Error),
    #[error("the temporary directory of the database failed: {0}")]
    Directory(#[from] std::io::Error),
}

/// Opens the bank's database: the user's own, or a database in a temporary directory that lasts as
/// long as the context.
#[async_context]
pub(crate) async fn database(url: Option<DatabaseUrl>) -> Result<Bank, DatabaseError> {
    let mut directory = None;
    let pool = if let Some(url) = url {
        open(url).await?
    } else {
        let directory = directory.insert(TempDir::with_prefix("transfer-funds-")?);
        let file = directory.path().join("bank.db");
        Pool::connect(Options::Sqlite(SqliteConnectOptions::new().filename(file))).await?
    };
    let made = Bank::make(pool.clone()).await;
    if made.is_err() {
        pool.close().await;
    }

    let (bank, _) = yield_!(made?);

    // This waits until every connection is back and closed: then nobody has a file open.
    bank.pool.close().await;
    if let Some(directory) = directory {
        directory.close()?;
    }
    Ok(())
}

/// One writer's turn. SQLite has one writer at a time. Writers that queue here get their turns in
/// order and without delay, while writers that run into SQLite's lock would sleep and try again. On
/// a server, each connection has a turn.
#[async_context]
pub(crate) async fn writers_turn(bank: Bank) -> Result<OwnedSemaphorePermit, sqlx::Error> {
    // A caller that gives up waiting has nothing to undo.
    let turn = cancellable!(bank.writers.acquire_owned()).await;
    // Fails only if the semaphore is closed.
    let turn = turn.map_err(|_| sqlx::Error::PoolClosed)?;
    let (turn, _) = yield_!(turn);
    drop(turn);
    Ok(())
}

/// A transaction: committed if the body completes; rolled back if it fails, panics, or is cancelled.
#[async_context]
pub(crate) async fn transaction(bank: Bank) -> Result<Connection, sqlx::Error> {
    let mut tx = cancellable!(bank.pool.acquire()).await?;
    tx.begin().await?;
    bank.open.fetch_add(1, Ordering::Relaxed);

    let (tx, outcome) = yield_!(tx);

    let ended = if outcome.is_completed() {
        tx.commit().await
    } else {
        tx.rollback().await
    };
    // Even if that has failed: then the connection is closed, and its transaction with it.
    bank.open.fetch_sub(1, Ordering::Relaxed);
    ended
}

/// A part of a transaction that is undone alone if the body fails or panics: the transaction can go
/// on without it.
///
/// It borrows the transaction, so it is used by `with_scoped`. If that is dropped, no code is left
/// to undo the part, and none is needed: the transaction around it is undone as a whole.
#[async_context]
pub(crate) async fn savepoint<'tx>(
    tx: &'tx mut Connection,
) -> Result<&'tx mut Connection, sqlx::Error> {
    tx.run("SAVEPOINT part").await?;

    let (tx, outcome) = yield_!(tx);

    if outcome.is_completed() {
        tx.run("RELEASE SAVEPOINT part").await
    } else {
        tx.run("ROLLBACK TO SAVEPOINT part").await
    }
}

/// Checks the user's database before anything is written to it.
async fn open(url: DatabaseUrl) -> Result<Pool, DatabaseError> {
    let advice = match &url.options {
        Options::Sqlite(_) => "Is it an SQLite file in a directory that you can write to?",
        Options::Postgres(_) | Options::MariaDb(_) => {
            "Does the server run, and does it have such a database?"
        }
    };
    let shown = url.to_string();
    let cannot_open = |error| DatabaseError::CannotOpen {
        url: shown.clone(),
        error,
        advice,
    };
    let pool = Pool::connect(url.options).await.map_err(cannot_open)?;
    let refused = match look_into(&pool).await {
        Ok((_, Some(file))) if file.is_empty() => DatabaseError::NoFile { url: shown },
        Ok((0, _)) => return Ok(pool),
        Ok((tables, _)) => DatabaseError::InUse { url: shown, tables },
        Err(error) => cannot_open(error),
    };
    pool.close().await;
    Err(refused)
}

/// The number of its tables, and the path of SQLite's file.
async fn look_into(pool: &Pool) -> Result<(i64, Option<String>), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let question = match connection.lent() {
        Lent::Sqlite(_) => {
            "SELECT (SELECT count(*) FROM sqlite_schema WHERE type = 'table'), file
             FROM pragma_database_list WHERE name = 'main'"
        }
        Lent::Postgres(_) => {
            "SELECT count(*), CAST(NULL AS TEXT) FROM pg_tables WHERE schemaname = current_schema()"
        }
        Lent::MariaDb(_) => {
            "SELECT count(*), CAST(NULL AS CHAR) FROM information_schema.tables
             WHERE table_schema = database()"
        }
    };
    let rows = connection.fetch(question, &[]).await?;
    rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)
}

/// A handle to the open database.
#[derive(Debug, Clone)]
pub(crate) struct Bank {
    pub(crate) pool: Pool,
    writers: Arc<Semaphore>,
    /// The number of transactions that were entered, and not exited yet.
    open: Arc<AtomicUsize>,
}

impl Bank {
    async fn make(pool: Pool) -> Result<Self, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        let (schema, writers) = if connection.is_sqlite() {
            (SQLITE_SCHEMA, 1)
        } else {
            (SERVER_SCHEMA, CONNECTIONS as usize)
        };
        connection.run(schema).await?;
        drop(connection);
        Ok(Self {
            pool,
            writers: Arc::new(Semaphore::new(writers)),
            open: Arc::default(),
        })
    }

    /// Opens all of the accounts, or none.
    pub(crate) async fn open_accounts(&self, accounts: &[Account]) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO accounts (id, owner, balance) VALUES (?, ?, ?)";
        transaction(self.clone())
            .with(async |tx| {
                for Account { id, owner, balance } in accounts {
                    let values = [(*id).into(), owner.as_str().into(), (*balance).into()];
                    tx.execute(insert, &values).await?;
                }
                Ok(())
            })
            .await
    }

    pub(crate) async fn has_in_journal(&self, transfer: &Transfer) -> Result<bool, sqlx::Error> {
        let question = "SELECT id FROM journal WHERE id = ?";
        let mut connection = self.pool.acquire().await?;
        let found: Vec<(i64,)> = connection.fetch(question, &[transfer.id.into()]).await?;
        Ok(!found.is_empty())
    }

    /// Why the transfer was refused, if that refusal has been committed.
    pub(crate) async fn refusal(&self, transfer: &Transfer) -> Result<Option<String>, sqlx::Error> {
        let question = "SELECT reason FROM refusals WHERE id = ?";
        let mut connection = self.pool.acquire().await?;
        let found: Vec<(String,)> = connection.fetch(question, &[transfer.id.into()]).await?;
        Ok(found.into_iter().next().map(|(reason,)| reason))
    }

    pub(crate) async fn balances(&self) -> Result<BTreeMap<i64, i64>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let rows = connection.fetch("SELECT id, balance FROM accounts", &[]);
        Ok(rows.await?.into_iter().collect())
    }

    pub(crate) async fn journal(&self) -> Result<BTreeMap<i64, Transfer>, sqlx::Error> {
        let question = "SELECT id, debtor, creditor, amount, note FROM journal";
        let mut connection = self.pool.acquire().await?;
        let rows: Vec<(i64, i64, i64, i64, String)> = connection.fetch(question, &[]).await?;
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

    pub(crate) async fn refusals(&self) -> Result<BTreeMap<i64, String>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let rows = connection.fetch("SELECT id, reason FROM refusals", &[]);
        Ok(rows.await?.into_iter().collect())
    }

    /// How many transactions are open, by our own count or according to the database, whichever is
    /// more.
    ///
    /// Must be called when no work is running: it takes every connection that the pool can have.
    pub(crate) async fn open_transactions(&self) -> Result<usize, sqlx::Error> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            // If somebody has kept a connection, this fails after the pool's time limit.
            connections.push(self.pool.acquire().await?);
        }
        let inside = match connections[0].lent() {
            Lent::Sqlite(_) => open_in_sqlite(&mut connections).await?,
            Lent::Postgres(_) => {
                let question = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND backend_type = 'client backend' AND xact_start IS NOT NULL";
                open_on_server(&mut connections, question).await?
            }
            Lent::MariaDb(_) => {
                let question = "SELECT count(*) FROM information_schema.innodb_trx
                    JOIN information_schema.processlist ON trx_mysql_thread_id = id
                    WHERE db = database() AND id <> connection_id()";
                open_on_server(&mut connections, question).await?
            }
        };
        Ok(self.open.load(Ordering::Relaxed).max(inside))
    }
}

async fn open_in_sqlite(connections: &mut [Connection]) -> Result<usize, sqlx::Error> {
    let mut inside = 0;
    for connection in &mut *connections {
        // Only an open transaction keeps SQLite from beginning another one.
        inside += usize::from(!can_run("BEGIN; ROLLBACK", connection).await?);
    }
    if inside == 0 && !can_run("BEGIN EXCLUSIVE; ROLLBACK", &mut connections[0]).await? {
        // Another writer, on a connection that is not ours.
        inside = 1;
    }
    Ok(inside)
}

async fn can_run(
    statements: &'static str,
    connection: &mut Connection,
) -> Result<bool, sqlx::Error> {
    match connection.run(statements).await {
        Ok(()) => Ok(true),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// If a connection is closed in the middle of a statement, it is open on the server until that has
/// ended the statement, and rolled back.
async fn open_on_server(
    connections: &mut [Connection],
    question: &'static str,
) -> Result<usize, sqlx::Error> {
    for connection in &mut *connections {
        connection.run("SELECT 1").await?;
    }
    let begun = Instant::now();
    loop {
        let counts: Vec<(i64,)> = connections[0].fetch(question, &[]).await?;
        let open = counts.first().map_or(0, |(count,)| *count);
        if open == 0 || begun.elapsed() > PATIENCE_WITH_SERVERS {
            return Ok(usize::try_from(open).unwrap_or_default());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Locks both accounts for this transaction, if they exist. The order is always the same, so two
/// transfers that need the same accounts cannot wait for each other.
pub(crate) async fn lock_accounts(
    tx: &mut Connection,
    transfer: &Transfer,
) -> Result<bool, sqlx::Error> {
    let question = if tx.is_sqlite() {
        // SQLite has already locked everything.
        "SELECT id FROM accounts WHERE id IN (?, ?)"
    } else {
        "SELECT id FROM accounts WHERE id IN (?, ?) ORDER BY id FOR UPDATE"
    };
    let values = [transfer.from.into(), transfer.to.into()];
    let found: Vec<(i64,)> = tx.fetch(question, &values).await?;
    Ok(found.len() == 2)
}

/// Takes the money from the debtor. Returns `false` if there is too little.
pub(crate) async fn debit(tx: &mut Connection, transfer: &Transfer) -> Result<bool, sqlx::Error> {
    let update = "UPDATE accounts SET balance = balance - ? WHERE id = ? AND balance >= ?";
    let Transfer { amount, from, .. } = *transfer;
    let values = [amount.into(), from.into(), amount.into()];
    Ok(tx.execute(update, &values).await? == 1)
}

/// Adds the money to the creditor. Returns `false` if it would be more than an account can hold.
pub(crate) async fn credit(tx: &mut Connection, transfer: &Transfer) -> Result<bool, sqlx::Error> {
    let update = "UPDATE accounts SET balance = balance + ?
        WHERE id = ? AND balance <= 9223372036854775807 - ?";
    let Transfer { amount, to, .. } = *transfer;
    let values = [amount.into(), to.into(), amount.into()];
    Ok(tx.execute(update, &values).await? == 1)
}

pub(crate) async fn note_in_journal(
    tx: &mut Connection,
    transfer: &Transfer,
) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO journal (id, debtor, creditor, amount, note) VALUES (?, ?, ?, ?, ?)";
    let Transfer {
        id,
        from,
        to,
        amount,
        ref note,
    } = *transfer;
    let values = [
        id.into(),
        from.into(),
        to.into(),
        amount.into(),
        note.as_str().into(),
    ];
    tx.execute(insert, &values).await.map(drop)
}

pub(crate) async fn note_refusal(
    tx: &mut Connection,
    transfer: &Transfer,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO refusals (id, reason) VALUES (?, ?)";
    tx.execute(insert, &[transfer.id.into(), reason.into()])
        .await
        .map(drop)
}
