//! An advisory lock of Postgres: only one of many workers at a time, each on a connection of its
//! own.
//!
//! The lock belongs to the session of a connection, so the connection is what is lent. Waiting for
//! the lock changes something on the server. There, the wait is given up by closing the connection,
//! which is also the result of dropping a query in the middle. So enter is not marked
//! `cancellable!`: it goes on until it has the lock, and exit releases the lock.

use async_context_manager::prelude::*;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

#[async_context]
async fn advisory_lock(pool: PgPool, key: i64) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let mut connection = cancellable!(pool.acquire()).await?;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(key)
        .execute(&mut *connection)
        .await?;
    let (mut connection, _outcome) = yield_!(connection);
    let unlocked = sqlx::query_scalar("SELECT pg_advisory_unlock($1)")
        .bind(key)
        .fetch_one(&mut *connection)
        .await;
    match unlocked {
        Ok(true) => Ok(()),
        // Closed instead of returned to the pool: the session ends with the connection, and the
        // lock with the session.
        Ok(false) => connection.close().await,
        Err(error) => {
            connection.close().await.ok();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_context_manager::detached;
    use tokio::time::timeout;

    use super::*;

    const KEY: i64 = 5_072_031;

    async fn pool() -> PgPool {
        let url = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL has to be set, as in postgres://user@localhost/database");
        PgPool::connect(&url).await.expect("the server answers")
    }

    async fn holders(pool: &PgPool) -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::int4::oid",
        )
        .bind(i32::try_from(KEY).expect("it is small"))
        .fetch_one(pool)
        .await
        .expect("the server answers")
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn the_lock_is_held_in_the_body_and_given_back_after_it_also_by_a_drop() {
        let pool = pool().await;
        let held = advisory_lock(pool.clone(), KEY)
            .with(async |_| Ok(holders(&pool).await))
            .await;
        assert_eq!(held.expect("the server answers"), 1);
        assert_eq!(holders(&pool).await, 0);

        let held = advisory_lock(pool.clone(), KEY)
            .with(async |_| std::future::pending::<Result<(), sqlx::Error>>().await);
        assert!(timeout(Duration::from_millis(200), held).await.is_err());
        detached::drain().await;
        assert_eq!(holders(&pool).await, 0);
    }
}
