//! Leases on PostgreSQL.

use sqlx::postgres::PgPool;
use sqlx::{Executor, Postgres};

use crate::claim::Claim;
use crate::store::Store;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS async_context_leases (
        name text PRIMARY KEY,
        token bigint NOT NULL,
        holder text,
        until timestamptz NOT NULL
    );
    CREATE TABLE IF NOT EXISTS async_context_fences (
        resource text PRIMARY KEY,
        token bigint NOT NULL
    )
";

const ACQUIRE: &str = "
    INSERT INTO async_context_leases AS lease (name, holder, until, token)
    VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3), 1)
    ON CONFLICT (name) DO UPDATE
        SET holder = EXCLUDED.holder,
            until = clock_timestamp() + make_interval(secs => $3),
            token = lease.token + 1
        WHERE lease.holder IS NULL OR lease.until <= clock_timestamp()
    RETURNING token
";

const RENEW: &str = "
    UPDATE async_context_leases SET until = clock_timestamp() + make_interval(secs => $3)
    WHERE name = $1 AND holder = $2 AND until > clock_timestamp()
";

const RELEASE: &str = "
    UPDATE async_context_leases SET holder = NULL
    WHERE name = $1 AND holder = $2 AND until > clock_timestamp()
";

const CURRENT: &str = "
    SELECT token FROM async_context_leases
    WHERE name = $1 AND holder IS NOT NULL AND until > clock_timestamp()
";

const PASS: &str = "
    INSERT INTO async_context_fences AS fence (resource, token) VALUES ($1, $2)
    ON CONFLICT (resource) DO UPDATE SET token = EXCLUDED.token WHERE fence.token <= EXCLUDED.token
";

/// Leases on PostgreSQL. Each lease is a row, which holds the token, the holder, and the end by the
/// server's clock.
///
/// Each request is one statement. The store holds no session, so a pooler in transaction mode does
/// no harm. A row stays when its lease is over, because the row keeps the token. Without a pooler,
/// [`advisory_lock`](crate::advisory_lock) can wait in a queue of the server instead of asking
/// again.
///
/// The server's clock is a wall clock: if it is set forward, leases end early by as much. After a
/// failover to a standby that was behind, leases and tokens are old. If that matters, let the
/// server wait for the standby (`synchronous_standby_names`).
///
/// ```no_run
/// use async_context_leases::{PostgresStore, lease};
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = sqlx::PgPool::connect("postgres://postgres@127.0.0.1/test").await?;
/// let store = PostgresStore::new(pool);
/// store.create_tables().await?;
/// let token = lease(store, "report").with(async |lease| Ok(lease.token())).await?;
/// assert!(token > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Returns a store that takes a connection from this pool for each request.
    ///
    /// Use another pool for the work. If a body held all connections of this pool, its own lease
    /// could not be renewed.
    ///
    /// ```no_run
    /// # use async_context_leases::{PostgresStore, Store};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sqlx::Error> {
    /// let pool = sqlx::PgPool::connect("postgres://postgres@127.0.0.1/test").await?;
    /// assert_eq!(PostgresStore::new(pool).current("nobody has this").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Creates the tables `async_context_leases` and `async_context_fences`, unless they exist.
    ///
    /// ```no_run
    /// # use async_context_leases::PostgresStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sqlx::Error> {
    /// let pool = sqlx::PgPool::connect("postgres://postgres@127.0.0.1/test").await?;
    /// let store = PostgresStore::new(pool);
    /// store.create_tables().await?;
    /// assert!(store.create_tables().await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of the server.
    pub async fn create_tables(&self) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        // If two sessions create a table at the same time, one of them may fail. The lock lets them
        // in one after the other.
        (&mut *tx)
            .execute("SELECT pg_advisory_xact_lock(hashtext('async_context_leases'))")
            .await?;
        sqlx::raw_sql(TABLES).execute(&mut *tx).await?;
        tx.commit().await
    }
}

/// Fences off older holders. Returns `true` if nobody with a higher token has passed the fence for
/// this resource.
///
/// Call it first, in the transaction that writes. The row stays locked until that transaction ends.
/// So an older holder's write either comes before this one, or is refused.
///
/// ```no_run
/// use async_context_leases::pass_fence;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sqlx::Error> {
/// # let pool = sqlx::PgPool::connect("postgres://postgres@127.0.0.1/test").await?;
/// let mut tx = pool.begin().await?;
/// assert!(pass_fence(&mut *tx, "accounts", 34).await?);
/// assert!(!pass_fence(&mut *tx, "accounts", 33).await?); // a holder before: roll back
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The errors of the server.
pub async fn pass_fence<'c>(
    connection: impl Executor<'c, Database = Postgres>,
    resource: &str,
    token: u64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(PASS)
        .bind(resource)
        .bind(i64::try_from(token).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

fn token((token,): (i64,)) -> Result<u64, sqlx::Error> {
    u64::try_from(token).map_err(|error| sqlx::Error::Decode(error.into()))
}

impl Store for PostgresStore {
    type Error = sqlx::Error;

    async fn acquire(&self, claim: &Claim) -> Result<Option<u64>, sqlx::Error> {
        sqlx::query_as(ACQUIRE)
            .bind(claim.name())
            .bind(claim.holder())
            .bind(claim.ttl().as_secs_f64())
            .fetch_optional(&self.pool)
            .await?
            .map(token)
            .transpose()
    }

    async fn renew(&self, claim: &Claim) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(RENEW)
            .bind(claim.name())
            .bind(claim.holder())
            .bind(claim.ttl().as_secs_f64())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn release(&self, claim: &Claim) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(RELEASE)
            .bind(claim.name())
            .bind(claim.holder())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn current(&self, name: &str) -> Result<Option<u64>, sqlx::Error> {
        sqlx::query_as(CURRENT)
            .bind(name)
            .fetch_optional(&self.pool)
            .await?
            .map(token)
            .transpose()
    }
}
