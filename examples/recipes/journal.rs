//! A journal of what must be undone, for the next process after this one has died.
//!
//! A process that is killed runs no exits. What it had rented at another service stays rented.
//! Therefore each context here writes a row before it rents, and deletes the row when it has given
//! back. The next process that starts finds the rows of a dead process.
//!
//! A lock tells whether a process is dead. Each process has a row of its own, which it keeps locked
//! by an open transaction. The server ends the transaction together with the connection of the
//! process. A process that starts looks for a row that nobody has locked
//! (`FOR UPDATE SKIP LOCKED`), so no two processes take the same row.
//!
//! The other service must know a deed by a number that the caller chooses, treat a second "give
//! back" of the same number as a success, and refuse to rent a number that was given back. The
//! reason: a process may die after its request was done and before it has noted that, and a request
//! of a dead process may arrive late.
//!
//! The open transaction keeps PostgreSQL's vacuum from removing rows that are deleted later. For
//! processes that run for weeks, use a lease (the package `async-context-leases`) in place of the
//! lock, which has no such effect. For the server, a host that is cut off is dead once its
//! connection is: set `tcp_keepalives_idle` there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_context_manager::prelude::*;
use sqlx::{PgPool, Postgres, Transaction};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

const TABLES: &str = "
    CREATE TABLE journal_processes (process bigserial PRIMARY KEY);
    CREATE TABLE journal_deeds (
        number bigserial PRIMARY KEY,
        process bigint NOT NULL REFERENCES journal_processes
    )
";

#[derive(Debug, Error)]
enum Trouble {
    #[error("the journal: {0}")]
    Journal(#[from] sqlx::Error),
    #[error("the machines: {0}")]
    Machines(#[from] io::Error),
}

/// The other service, which rents machines.
#[derive(Debug, Clone, Copy)]
struct Machines {
    address: SocketAddr,
}

impl Machines {
    async fn rent(self, number: i64) -> io::Result<()> {
        self.ask(format!("rent {number}\n")).await
    }

    async fn give_back(self, number: i64) -> io::Result<()> {
        self.ask(format!("back {number}\n")).await
    }

    async fn ask(self, request: String) -> io::Result<()> {
        let mut stream = BufReader::new(TcpStream::connect(self.address).await?);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        if answer == "yes\n" {
            Ok(())
        } else {
            Err(io::Error::other("it was refused"))
        }
    }
}

/// The journal of this process.
#[derive(Debug, Clone)]
struct Journal {
    pool: PgPool,
    machines: Machines,
    process: i64,
}

/// Undoes what dead processes have left, and then opens the journal of this process.
#[async_context]
async fn journal(pool: PgPool, machines: Machines) -> Result<Journal, Trouble> {
    while undo_one(&pool, machines).await? {}
    let (process, mut lock) = register(&pool).await?;
    let journal = Journal {
        pool,
        machines,
        process,
    };
    let (_, _) = yield_!(journal, watch(&mut lock));
    // If an exit has failed, its row still exists, for the next process that starts.
    let delete = "DELETE FROM journal_processes WHERE process = $1
        AND NOT EXISTS (SELECT FROM journal_deeds WHERE process = $1)";
    let delete = sqlx::query(delete).bind(process);
    delete.execute(&mut *lock).await?;
    Ok(lock.commit().await?)
}

/// Adds a row for this process, and locks it.
async fn register(pool: &PgPool) -> Result<(i64, Transaction<'static, Postgres>), sqlx::Error> {
    loop {
        let insert = "INSERT INTO journal_processes DEFAULT VALUES RETURNING process";
        let process: i64 = sqlx::query_scalar(insert).fetch_one(pool).await?;
        let mut lock = pool.begin().await?;
        // Weaker than `FOR UPDATE`, which would not let rows of deeds refer to this row.
        let select = "SELECT FROM journal_processes WHERE process = $1 FOR NO KEY UPDATE";
        let select = sqlx::query(select).bind(process);
        if select.fetch_optional(&mut *lock).await?.is_some() {
            return Ok((process, lock));
        }
        // Before the row was locked, another process has taken this one for dead.
    }
}

/// Ends the body when the lock is lost, because the other processes then take this one for dead.
async fn watch(lock: &mut Transaction<'static, Postgres>) -> Result<(), Trouble> {
    loop {
        sleep(Duration::from_secs(2)).await;
        sqlx::query("SELECT 1").execute(&mut **lock).await?;
    }
}

/// Undoes the youngest deed of a dead process, or forgets the process if it has no deeds. Returns
/// `false` if no process is dead.
async fn undo_one(pool: &PgPool, machines: Machines) -> Result<bool, Trouble> {
    let mut tx = pool.begin().await?;
    let dead = "SELECT process FROM journal_processes ORDER BY process
        FOR UPDATE SKIP LOCKED LIMIT 1";
    let dead: Option<i64> = sqlx::query_scalar(dead).fetch_optional(&mut *tx).await?;
    let Some(process) = dead else {
        return Ok(false);
    };
    let youngest = "SELECT number FROM journal_deeds WHERE process = $1
        ORDER BY number DESC LIMIT 1";
    let youngest = sqlx::query_scalar(youngest).bind(process);
    let youngest: Option<i64> = youngest.fetch_optional(&mut *tx).await?;
    let delete = if let Some(number) = youngest {
        machines.give_back(number).await?;
        sqlx::query("DELETE FROM journal_deeds WHERE number = $1").bind(number)
    } else {
        sqlx::query("DELETE FROM journal_processes WHERE process = $1").bind(process)
    };
    delete.execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// A rented machine, which is given back in any case. The value is its number.
#[async_context]
async fn rented(journal: Journal) -> Result<i64, Trouble> {
    let insert = "INSERT INTO journal_deeds (process) VALUES ($1) RETURNING number";
    let insert = sqlx::query_scalar(insert).bind(journal.process);
    let number: i64 = insert.fetch_one(&journal.pool).await?;
    if let Err(error) = journal.machines.rent(number).await {
        // The request may have arrived. If this fails too, the row stays for the next start.
        let _ = give_back(&journal, number).await;
        return Err(error.into());
    }
    let (number, _) = yield_!(number);
    give_back(&journal, number).await
}

async fn give_back(journal: &Journal, number: i64) -> Result<(), Trouble> {
    journal.machines.give_back(number).await?;
    let delete = sqlx::query("DELETE FROM journal_deeds WHERE number = $1").bind(number);
    delete.execute(&journal.pool).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
