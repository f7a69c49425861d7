//! A transaction on a connection of a pool, with sqlx and with tokio-postgres.
//!
//! Enter waits twice, and the two waits differ. The wait for a connection is a place in a queue: a
//! caller that goes away has nothing to undo, so this wait is `cancellable!`. Without the mark,
//! each caller that has given up would still take its turn, with a `BEGIN` and a `ROLLBACK`, before
//! the next caller. The `BEGIN` may have been carried out even if nobody has read the answer. So
//! `BEGIN` is not marked: it goes on in the background until it is answered, and then the exit
//! rolls back.
//!
//! sqlx's `pool.begin()` combines both waits, and can be marked only as a whole. With PostgreSQL,
//! that is wrong: when `begin` is dropped in the middle, sqlx 0.9.0 puts the connection back into
//! the pool with an open transaction (<https://github.com/transact-rs/sqlx/issues/4393>).

/// sqlx. The functions are the same for MariaDB, with `MySqlPool`. With `PgPool`, use the statement
/// `"SELECT; COMMIT"`, as the other driver does below: if a statement has failed, and the body has
/// ignored that, PostgreSQL rolls back and answers the `COMMIT` with success.
mod with_sqlx {
    use async_context_manager::prelude::*;
    use sqlx::pool::PoolConnection;
    use sqlx::sqlite::SqlitePool;
    use sqlx::{Executor as _, Sqlite};

    #[async_context]
    pub(super) async fn transaction(
        pool: SqlitePool,
    ) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        let mut db = cancellable!(pool.acquire()).await?;
        db.execute("BEGIN").await?;
        let (mut db, outcome) = yield_!(db);
        let end = if outcome.is_completed() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        if let Err(error) = db.execute(end).await {
            // The transaction may still be open: the next user must not get this connection.
            db.close_on_drop();
            return Err(error);
        }
        Ok(())
    }
}

/// tokio-postgres, with the pool of deadpool.
mod with_tokio_postgres {
    use async_context_manager::prelude::*;
    use deadpool_postgres::{Client, Pool, PoolError};

    #[async_context]
    pub(super) async fn transaction(pool: Pool) -> Result<Client, PoolError> {
        let db = cancellable!(pool.get()).await?;
        db.batch_execute("BEGIN").await?;
        let (db, outcome) = yield_!(db);
        let end = if outcome.is_completed() {
            // If a statement has failed before, PostgreSQL rolls back, and still answers a `COMMIT`
            // with success. The `SELECT` fails in that case, so that a body that ignored the error
            // does not take its other changes for committed.
            "SELECT; COMMIT"
        } else {
            "ROLLBACK"
        };
        if let Err(error) = db.batch_execute(end).await {
            // Taken out of the pool, and closed.
            drop(Client::take(db));
            return Err(error.into());
        }
        Ok(())
    }
}

mod tests {
    use std::future::pending;
    use std::str::FromStr as _;

    use async_context_manager::{AsyncContextExt as _, detached};
    use deadpool_postgres::{Manager, Pool, PoolError};
    use futures::FutureExt as _;
    use sqlx::Executor as _;
    use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
    use tokio::sync::Mutex;
    use tokio::task::yield_now;
    use tokio_postgres::error::SqlState;
    use tokio_postgres::{Config, NoTls};

    use super::{with_sqlx, with_tokio_postgres};
    use crate::polls::poll_at_most;

    /// The list of what is in the background belongs to the process: only one test with sqlx at a
    /// time.
    static ALONE: Mutex<()> = Mutex::const_new(());

    async fn one_connection(url: &str) -> SqlitePool {
        let options = SqlitePoolOptions::new().max_connections(1);
        let pool = options.connect(url).await.unwrap();
        pool.execute("CREATE TABLE numbers (id INTEGER PRIMARY KEY)")
            .await
            .unwrap();
        pool
    }

    async fn numbers(pool: &SqlitePool) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM numbers");
        count.fetch_one(pool).await.unwrap()
    }

    #[tokio::test]
    async fn callers_that_give_up_in_the_queue_leave_nothing_behind() {
        let _alone = ALONE.lock().await;
        let pool = one_connection("sqlite::memory:").await;
        let held = pool.acquire().await.unwrap();
        for _ in 0..100 {
            let waiting = with_sqlx::transaction(pool.clone())
                .with(async |_| pending::<Result<(), sqlx::Error>>().await);
            assert!(waiting.now_or_never().is_none());
        }
        let left = detached::list();
        let name = "with_sqlx::transaction";
        assert!(!left.iter().any(|context| context.name().ends_with(name)));
        drop(held);
        let inserted = with_sqlx::transaction(pool.clone())
            .with(async |db| db.execute("INSERT INTO numbers VALUES (1)").await);
        assert_eq!(inserted.await.unwrap().rows_affected(), 1);
        assert_eq!(numbers(&pool).await, 1);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_at_any_poll_leaves_no_transaction_open() {
        let _alone = ALONE.lock().await;
        // A file, because sqlx closes a connection if its caller leaves while the pool checks it,
        // and a database in memory would be lost.
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/numbers?mode=rwc", folder.path().display());
        let pool = one_connection(&url).await;
        for polls in 0.. {
            let insert = with_sqlx::transaction(pool.clone()).with(async |db| {
                db.execute("INSERT INTO numbers DEFAULT VALUES").await?;
                yield_now().await; // one of the polls ends here, in the body
                Ok(())
            });
            let before = numbers(&pool).await;
            let ended = poll_at_most(polls, insert).await;
            detached::drain().await;
            // This would fail in an open transaction.
            let mut db = pool.acquire().await.unwrap();
            db.execute("BEGIN; ROLLBACK").await.unwrap();
            drop(db);
            let added = numbers(&pool).await - before;
            if let Some(inserted) = ended {
                inserted.unwrap();
                assert_eq!(added, 1);
                return;
            }
            // The caller may have left during the exit, which commits all the same.
            assert!(added <= 1);
        }
    }

    #[tokio::test]
    async fn a_connection_whose_commit_has_failed_is_closed() {
        let _alone = ALONE.lock().await;
        let pool = one_connection("sqlite::memory:").await;
        let deferred = "PRAGMA foreign_keys = ON;
            CREATE TABLE parts (whole INTEGER REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)";
        pool.execute(deferred).await.unwrap();
        let failed = with_sqlx::transaction(pool.clone())
            .with(async |db| db.execute("INSERT INTO parts VALUES (7)").await);
        let error = failed.await.unwrap_err().to_string();
        assert!(error.contains("FOREIGN KEY"), "{error}");
        // A new connection has a new database in memory: the table is gone.
        assert!(pool.execute("SELECT * FROM parts").await.is_err());
    }

    fn one_postgres_connection() -> Pool {
        let url = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL has to be set, as in postgres://user@localhost/database");
        let manager = Manager::new(Config::from_str(&url).unwrap(), NoTls);
        Pool::builder(manager).max_size(1).build().unwrap()
    }

    async fn is_in_a_transaction(pool: &Pool) -> Result<bool, PoolError> {
        let db = pool.get().await?;
        // Refused unless there is a transaction.
        let refused = db.batch_execute("SAVEPOINT probe").await;
        let error = refused.err().and_then(|error| error.code().cloned());
        Ok(error != Some(SqlState::NO_ACTIVE_SQL_TRANSACTION))
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn with_tokio_postgres_no_transaction_stays_open_either() -> Result<(), PoolError> {
        let pool = one_postgres_connection();
        for polls in 0.. {
            let work = with_tokio_postgres::transaction(pool.clone())
                .with(async |db| Ok(db.batch_execute("SELECT pg_sleep(0.01)").await?));
            let ended = poll_at_most(polls, work).await;
            detached::drain().await;
            assert!(!is_in_a_transaction(&pool).await?, "after {polls} polls");
            if let Some(ended) = ended {
                return ended;
            }
        }
        Ok(())
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn with_tokio_postgres_an_ignored_error_fails_the_commit() -> Result<(), PoolError> {
        let pool = one_postgres_connection();
        let work = with_tokio_postgres::transaction(pool.clone()).with(async |db| {
            db.batch_execute("SELECT 1 / 0").await.ok();
            Ok(())
        });
        assert!(work.await.is_err());
        assert!(!is_in_a_transaction(&pool).await?);
        Ok(())
    }
}
