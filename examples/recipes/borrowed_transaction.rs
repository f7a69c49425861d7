//! A connection, and a transaction that borrows it: three ways.
//!
//! `let mut db = pool.acquire().await?; let tx = db.begin().await?; yield_!(tx)` does not compile:
//! a value that borrows from a local of the context can't be moved to the body.
//!
//! | way | use it |
//! | --- | --- |
//! | `owned` | if the driver has a value that owns both, and opens it in one call; the shortest |
//! | `statements` | with every driver; the two awaits can be marked apart, which PostgreSQL needs |
//! | `borrowed` | for several transactions, one after the other, on one connection |
//!
//! In each way a failure rolls back, and so does a caller that goes away. The third way is weaker:
//! a transaction that is dropped can't run its own exit, which is reported. So the exit of the
//! connection closes the connection unless the body has completed, and that rolls back. Put a time
//! limit around the whole, not around a transaction alone: a connection whose body goes on after
//! that has only the driver's own `Drop` to roll back.

use async_context_manager::prelude::*;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;
use sqlx::{Acquire as _, Executor as _, Sqlite, Transaction};

type Connection = PoolConnection<Sqlite>;

#[async_context]
async fn owned(pool: SqlitePool) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
    // With PostgreSQL, these must be two awaits: use `statements`.
    let tx = cancellable!(pool.begin()).await?;
    let (tx, outcome) = yield_!(tx);
    if outcome.is_completed() {
        tx.commit().await
    } else {
        tx.rollback().await
    }
}

#[async_context]
async fn statements(pool: SqlitePool) -> Result<Connection, sqlx::Error> {
    let mut db = cancellable!(pool.acquire()).await?;
    db.execute("BEGIN").await?;
    let (mut db, outcome) = yield_!(db);
    let completed = outcome.is_completed(); // with PostgreSQL, "SELECT; COMMIT"
    let end = if completed { "COMMIT" } else { "ROLLBACK" };
    if let Err(error) = db.execute(end).await {
        db.close_on_drop(); // the transaction may still be open
        return Err(error);
    }
    Ok(())
}

#[async_context]
async fn connection(pool: SqlitePool) -> Result<Connection, sqlx::Error> {
    let db = cancellable!(pool.acquire()).await?;
    let (db, outcome) = yield_!(db);
    if outcome.is_completed() {
        return Ok(());
    }
    db.close().await
}

#[async_context]
async fn borrowed(db: &mut Connection) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
    let tx = db.begin().await?;
    let (tx, outcome) = yield_!(tx);
    if outcome.is_completed() {
        tx.commit().await
    } else {
        tx.rollback().await
    }
}

#[cfg(test)]
mod tests {
    use async_context_manager::detached;
    use sqlx::SqliteConnection;
    use sqlx::sqlite::SqlitePoolOptions;
    use tokio::task::yield_now;

    use super::*;
    use crate::polls::poll_at_most;

    /// What a body does: an insert, and the end that the test asks for.
    async fn work(db: &mut SqliteConnection, fails: bool) -> Result<(), sqlx::Error> {
        db.execute("INSERT INTO numbers DEFAULT VALUES").await?;
        yield_now().await; // one of the polls ends here, in the body
        let error = fails.then_some(sqlx::Error::RowNotFound);
        error.map_or(Ok(()), Err)
    }

    /// A use that is given up after any number of polls, that fails, or that completes.
    async fn check(usage: impl AsyncFn(SqlitePool, bool) -> Result<(), sqlx::Error>) {
        // A file, because a database in memory ends with its connection.
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/numbers?mode=rwc", folder.path().display());
        let options = SqlitePoolOptions::new().max_connections(1);
        let pool = options.connect(&url).await.unwrap();
        let table = "CREATE TABLE numbers (id INTEGER PRIMARY KEY)";
        pool.execute(table).await.unwrap();
        let numbers = async || -> i64 {
            let count = sqlx::query_scalar("SELECT count(*) FROM numbers");
            count.fetch_one(&pool).await.unwrap()
        };
        for polls in 0.. {
            let ended = poll_at_most(polls, usage(pool.clone(), true)).await;
            detached::drain().await;
            assert_eq!(numbers().await, 0, "after {polls} polls");
            let mut db = pool.acquire().await.unwrap();
            db.execute("BEGIN; ROLLBACK").await.unwrap(); // fails in an open transaction
            if let Some(ended) = ended {
                assert!(ended.is_err());
                break;
            }
        }
        usage(pool.clone(), false).await.unwrap();
        assert_eq!(numbers().await, 1);
    }

    #[tokio::test]
    async fn each_way_rolls_back_what_fails_or_is_given_up_and_commits_what_completes() {
        let owns = async |pool, fails| owned(pool).with(async |tx| work(tx, fails).await).await;
        check(owns).await;
        let sends = async |pool, fails| {
            let body = async |db: &mut Connection| work(db, fails).await;
            statements(pool).with(body).await
        };
        check(sends).await;
        let borrows = async |pool, fails| {
            let inner = async |tx: &mut Transaction<'_, Sqlite>| work(tx, fails).await;
            let body = async |db: &mut Connection| borrowed(db).with_scoped(inner).await;
            connection(pool).with(body).await
        };
        check(borrows).await;
    }
}
