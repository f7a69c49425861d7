//! A transaction that is retried when the database says that another try may succeed.
//!
//! A serializable transaction may fail at any statement, and at its COMMIT, with an error that says
//! so. Then all of it must run again, because the statements have read what is no longer true. So
//! the retry goes around the context *and* its body, never inside the body. The commit is in the
//! exit, and its error is an error of the use, like that of a statement. `backon` does the rest.
//!
//! The body must not do anything outside the transaction, such as sending a mail, because the body
//! may run several times.

use std::time::Duration;

use async_context_manager::SendBody;
use async_context_manager::prelude::*;
use backon::{ExponentialBuilder, Retryable as _};
use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgPool, Postgres};

type Connection = PoolConnection<Postgres>;

#[async_context]
async fn serializable(pool: PgPool) -> Result<Connection, sqlx::Error> {
    let mut db = cancellable!(pool.acquire()).await?;
    db.execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
    let (mut db, outcome) = yield_!(db);
    let end = if outcome.is_completed() {
        // The `SELECT` fails if a statement has failed and the body has ignored that.
        "SELECT; COMMIT"
    } else {
        "ROLLBACK"
    };
    if let Err(error) = db.execute(end).await {
        // The transaction may still be open. A connection that is not closed serves the next try.
        if db.execute("ROLLBACK").await.is_err() {
            db.close_on_drop();
        }
        return Err(error);
    }
    Ok(())
}

/// A serialization failure, or a deadlock.
fn may_succeed(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(500))
        .with_max_times(10)
        .with_jitter()
}

/// Runs the body in a serializable transaction, again and again while that may help.
async fn serialized<R, B>(pool: PgPool, body: B) -> Result<R, sqlx::Error>
where
    R: Send,
    B: for<'a> SendBody<&'a mut Connection, Result<R, sqlx::Error>> + Clone,
{
    let attempt = || serializable(pool.clone()).with(body.clone());
    attempt.retry(pauses()).when(may_succeed).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_context_manager::detached;
    use tokio::sync::Barrier;

    use super::*;
    use crate::polls::poll_at_most;

    async fn pool() -> PgPool {
        let url = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL has to be set, as in postgres://user@localhost/database");
        PgPool::connect(&url).await.expect("the server answers")
    }

    /// A place where two withdrawals wait for each other, in their first tries.
    #[derive(Clone)]
    struct Meeting(Arc<Barrier>);

    impl Meeting {
        async fn meet(&self, tries: usize) {
            if tries == 1 {
                self.0.wait().await;
            }
        }
    }

    /// Withdraws from one of the two accounts of an owner, which may be below zero if the other
    /// account covers it. Returns whether there was enough, and the number of tries and of bodies
    /// that completed.
    async fn withdraw(
        pool: PgPool,
        owner: i64,
        number: i32,
        meeting: Meeting,
    ) -> Result<(bool, usize, usize), sqlx::Error> {
        let (tries, completed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (begun, ended) = (Arc::clone(&tries), Arc::clone(&completed));
        let body = async move |db: &mut Connection| {
            let tries = begun.fetch_add(1, Ordering::Relaxed) + 1;
            let sum = "SELECT sum(cents)::bigint FROM retry_accounts WHERE owner = $1";
            let sum = sqlx::query_scalar(sum).bind(owner);
            let sum: i64 = sum.fetch_one(&mut **db).await?;
            meeting.meet(tries).await;
            if sum >= 80 {
                let update = "UPDATE retry_accounts SET cents = cents - 80
                    WHERE owner = $1 AND number = $2";
                let update = sqlx::query(update).bind(owner).bind(number);
                update.execute(&mut **db).await?;
            }
            meeting.meet(tries).await;
            ended.fetch_add(1, Ordering::Relaxed);
            Ok(sum >= 80)
        };
        let enough = serialized(pool, body).await?;
        let count = |counter: Arc<AtomicUsize>| counter.load(Ordering::Relaxed);
        Ok((enough, count(tries), count(completed)))
    }

    /// Both transactions read before one of them writes, and both write before one of them commits.
    /// So one of them fails at its COMMIT, after all its statements have succeeded.
    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn a_commit_that_fails_to_serialize_runs_context_and_body_again_in_a_task() {
        let pool = pool().await;
        let table = "CREATE TABLE IF NOT EXISTS retry_accounts
            (owner bigint, number int, cents bigint, PRIMARY KEY (owner, number))";
        sqlx::raw_sql(table).execute(&pool).await.unwrap();
        let owner: i64 = rand::random();
        let insert = "INSERT INTO retry_accounts VALUES ($1, 1, 50), ($1, 2, 50)";
        let insert = sqlx::query(insert).bind(owner);
        insert.execute(&pool).await.unwrap();

        let meeting = Meeting(Arc::new(Barrier::new(2)));
        let task = |number| tokio::spawn(withdraw(pool.clone(), owner, number, meeting.clone()));
        let (one, two) = (task(1), task(2));
        let mut ended = [one.await.unwrap().unwrap(), two.await.unwrap().unwrap()];
        ended.sort_unstable();
        // The one that failed had completed its body. It has read again, and then there was not
        // enough.
        assert_eq!(ended, [(false, 2, 2), (true, 1, 1)]);

        let left = "DELETE FROM retry_accounts WHERE owner = $1 RETURNING cents";
        let left = sqlx::query_scalar(left).bind(owner).fetch_all(&pool).await;
        let left: Vec<i64> = left.unwrap();
        assert_eq!(left.iter().sum::<i64>(), 20);
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn an_error_that_does_not_say_so_is_not_tried_again() {
        let tries = Arc::<AtomicUsize>::default();
        let begun = Arc::clone(&tries);
        let body = async move |db: &mut Connection| {
            begun.fetch_add(1, Ordering::Relaxed);
            let failing = sqlx::query("SELECT 1 / 0").execute(&mut **db);
            failing.await
        };
        assert!(serialized(pool().await, body).await.is_err());
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn an_error_that_the_body_ignores_fails_the_commit_and_the_connection_serves_again() {
        let pool = pool().await;
        let ignored = serializable(pool.clone()).with(async |db| {
            db.execute("SELECT 1 / 0").await.ok();
            Ok(())
        });
        assert!(ignored.await.is_err());
        let next = serializable(pool).with(async |db| db.execute("SELECT 1").await);
        assert_eq!(next.await.unwrap().rows_affected(), 1);
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn a_caller_that_gives_up_at_any_poll_leaves_no_transaction_open() {
        let pool = pool().await;
        for polls in 0.. {
            let sleeping = serializable(pool.clone())
                .with(async |db| db.execute("SELECT pg_sleep(0.01)").await);
            let ended = poll_at_most(polls, sleeping).await;
            detached::drain().await;
            let mut db = pool.acquire().await.unwrap();
            // Refused unless a transaction is open.
            let open = db.execute("SAVEPOINT probe").await.is_ok();
            assert!(!open, "after {polls} polls");
            if ended.is_some() {
                return;
            }
        }
    }
}
