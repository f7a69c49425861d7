//! A context for an advisory lock of PostgreSQL, which a session holds.

use std::fmt;
use std::time::Duration;

use async_context_manager::generator::Lender;
use async_context_manager::prelude::*;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::acquire::{LONGEST, SHORTEST_TTL, TTL, Teller, pause, sure_for};
use crate::error::LeaseError;
use crate::lease::Lease;

const WAIT: &str = "SELECT pg_advisory_lock(hashtextextended($1, 0)) IS NOT NULL";

const TRY: &str = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";

/// How long the session may wait for a lock.
const LIMIT_WAIT: &str = "SELECT set_config('lock_timeout', $1, false)";

const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtextextended($1, 0))";

/// The session that has the lock runs this, so the token comes after the tokens of all earlier
/// holders.
const TOKEN: &str = "
    INSERT INTO async_context_leases AS lease (name, until, token) VALUES ($1, '-infinity', 1)
    ON CONFLICT (name) DO UPDATE SET token = lease.token + 1
    RETURNING token, pg_backend_pid()
";

const SESSION: &str = "SELECT pg_backend_pid()";

/// The error code by which PostgreSQL ends a wait after its `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The longest time that PostgreSQL accepts for a session.
const LONGEST_TTL: Duration = Duration::from_secs(20 * 24 * 60 * 60);

/// Returns a context for an advisory lock of PostgreSQL. It waits in the queue of the server, lends
/// a [`Lease`], checks the session beside the body, and unlocks in the exit.
///
/// The lock belongs to a session, so each use opens a connection of its own, with these options.
/// The tokens are in the tables of [`PostgresStore`](crate::PostgresStore), which
/// [`create_tables`](crate::PostgresStore::create_tables) creates.
///
/// ```no_run
/// use async_context_leases::{PostgresStore, advisory_lock, pass_fence};
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = "postgres://postgres@127.0.0.1/test";
/// let pool = sqlx::PgPool::connect(url).await?;
/// PostgresStore::new(pool.clone()).create_tables().await?;
/// let report = advisory_lock(url.parse()?, "report");
/// report
///     .with(async |lease| {
///         let mut tx = pool.begin().await?;
///         assert!(pass_fence(&mut *tx, "report", lease.token()).await?);
///         tx.commit().await?;
///         Ok(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
pub fn advisory_lock(server: PgConnectOptions, name: impl Into<String>) -> AdvisoryLock {
    AdvisoryLock {
        server,
        name: name.into(),
        ttl: TTL,
        margin: None,
        patience: None,
        held: None,
    }
}

/// A context for an advisory lock that is not held yet. [`advisory_lock`] returns it.
///
/// ```no_run
/// use async_context_leases::{AdvisoryLock, advisory_lock};
/// use async_context_manager::prelude::*;
///
/// struct Leader {
///     lock: Guard<AdvisoryLock>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = "postgres://postgres@127.0.0.1/test".parse()?;
/// let leader = Leader { lock: advisory_lock(server, "leader").guard().await? };
/// assert!(leader.lock.is_sure());
/// Guard::close(leader.lock).await?;
/// # Ok(())
/// # }
/// ```
///
/// # What ends it
///
/// The server ends the session when the session has been idle for the [ttl](AdvisoryLock::ttl)
/// (`idle_session_timeout`, in PostgreSQL since version 14). Beside the body, the holder asks for
/// the number of its session three times in a ttl. So if a holder was stopped or cut off, its lock
/// ends by the server's clock. The holder measures the same time on its own clock, less a margin,
/// from before it sends a request. If that time passes without an answer, the holder ends the body
/// with [`Lost`](LeaseError::Lost). If a process dies, the server does not wait for the ttl: it
/// ends the lock as soon as it sees the connection closed.
///
/// # What it can do that a lease in a row can't
///
/// Waiting needs no polling: the server has a queue, and the longest waiter is next. A waiter asks
/// again after each ttl, to find out whether the server is gone. It thereby goes to the end of the
/// queue.
///
/// # What it can't do behind a pooler
///
/// A pooler in transaction mode, such as `PgBouncer`, assigns a session of the server for one
/// transaction at a time. So the lock stays with a session that the next client gets, and an unlock
/// goes to another session. Two clients on one session both get the lock, because a session that
/// has a lock gets it again. Give the address of the server itself, past the pooler. `PgBouncer`
/// refuses the connection of this context, because of its startup options, unless `PgBouncer` was
/// told to ignore them. If the session of a holder changes, the holder gets
/// [`Lost`](LeaseError::Lost). Two holders on one session cannot be detected. [`PostgresStore`] has
/// none of these problems.
///
/// The lock does not survive a failover, because a standby has none of the locks. After a failover
/// to a standby that was behind, the tokens may be old.
///
/// # Names
///
/// PostgreSQL identifies a lock by a number: a 64-bit hash of the name. Locks of other programs in
/// the same database may have the same number.
///
/// # Errors
///
/// The enter fails with [`Held`](LeaseError::Held), [`Store`](LeaseError::Store) or
/// [`NoAnswer`](LeaseError::NoAnswer). The body fails with [`Lost`](LeaseError::Lost).
///
/// # Cancel safety
///
/// If a wait is dropped, its connection closes. The server checks once a second whether a waiting
/// session still has a client.
///
/// [`PostgresStore`]: crate::PostgresStore
#[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
pub struct AdvisoryLock {
    server: PgConnectOptions,
    name: String,
    ttl: Duration,
    margin: Option<Duration>,
    patience: Option<Duration>,
    held: Option<Held>,
}

struct Held {
    connection: PgConnection,
    process: i32,
    sure_until: watch::Sender<Instant>,
    /// `Some` once the lock was lost.
    teller: Option<Teller>,
}

impl fmt::Debug for AdvisoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdvisoryLock")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

type Failed = LeaseError<sqlx::Error>;

/// Returns the time in the form of an option of PostgreSQL, in which zero means "no limit".
fn milliseconds(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

/// Waits for an answer, up to a limit.
async fn answer<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Failed> {
    let answered = timeout(limit, asked).await;
    Ok(answered.map_err(|_| LeaseError::NoAnswer)??)
}

impl AdvisoryLock {
    /// Sets how long the lock outlives a holder that was stopped or cut off. The default is ten
    /// seconds.
    ///
    /// ```no_run
    /// # use async_context_leases::advisory_lock;
    /// # use async_context_manager::prelude::*;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = "postgres://postgres@127.0.0.1/test".parse()?;
    /// let lock = advisory_lock(server, "report").ttl(Duration::from_secs(30));
    /// lock.with(async |lease| Ok(assert!(lease.is_sure()))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.clamp(SHORTEST_TTL, LONGEST_TTL);
        self
    }

    /// Sets how long before the end of the ttl the holder gives up. The default is a tenth of the
    /// ttl. A margin of more than nine tenths of the ttl counts as nine tenths.
    ///
    /// ```no_run
    /// # use async_context_leases::advisory_lock;
    /// # use async_context_manager::prelude::*;
    /// # use std::time::Duration;
    /// # use tokio::time::Instant;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = "postgres://postgres@127.0.0.1/test".parse()?;
    /// let lock = advisory_lock(server, "report").margin(Duration::from_secs(4));
    /// let left = lock.with(async |lease| Ok(lease.sure_until() - Instant::now())).await?;
    /// assert!(left <= Duration::from_secs(6));
    /// # Ok(())
    /// # }
    /// ```
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// Limits how long the enter waits for others. After that, it fails with [`LeaseError::Held`].
    /// With a limit of zero, the enter does not wait.
    ///
    /// ```no_run
    /// # use async_context_leases::{LeaseError, advisory_lock};
    /// # use async_context_manager::prelude::*;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = "postgres://postgres@127.0.0.1/test".parse()?;
    /// let lock = advisory_lock(server, "report").wait_at_most(Duration::ZERO);
    /// match lock.with(async |lease| Ok(lease.token())).await {
    ///     Ok(token) => println!("the report is made, token {token}"),
    ///     Err(LeaseError::Held) => println!("another process makes the report"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_at_most(mut self, patience: Duration) -> Self {
        self.patience = Some(patience.min(LONGEST));
        self
    }

    fn sure_for(&self) -> Duration {
        sure_for(self.ttl, self.margin)
    }

    /// Opens a session that the server ends when it is idle.
    async fn session(&self, longest_wait: Duration) -> Result<PgConnection, Failed> {
        let server = self.server.clone().options([
            ("idle_session_timeout", milliseconds(self.ttl)),
            ("lock_timeout", milliseconds(longest_wait)),
            ("statement_timeout", "0".to_owned()),
            ("client_connection_check_interval", "1000".to_owned()),
        ]);
        answer(self.ttl, server.connect()).await
    }

    /// Waits in the queue until the session has the lock.
    async fn wait(&self) -> Result<PgConnection, Failed> {
        let begun = Instant::now();
        let patience = self.patience.unwrap_or(Duration::MAX);
        let mut longest_wait = self.ttl.min(patience);
        let ask = if longest_wait.is_zero() { TRY } else { WAIT };
        let mut connection = self.session(longest_wait).await?;
        loop {
            let asked = sqlx::query_scalar(ask).bind(&self.name);
            match answer(longest_wait + self.ttl, asked.fetch_one(&mut connection)).await {
                Ok(true) => {
                    if longest_wait < self.ttl {
                        // What follows may wait for a lock of another kind.
                        let limited = sqlx::query(LIMIT_WAIT).bind(milliseconds(self.ttl));
                        answer(self.ttl, limited.execute(&mut connection)).await?;
                    }
                    return Ok(connection);
                }
                Ok(false) => {}
                Err(LeaseError::Store(sqlx::Error::Database(error)))
                    if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {}
                Err(error) => return Err(error),
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                // If this fails, the drop closes the connection.
                let _ = timeout(self.ttl, connection.close()).await;
                return Err(LeaseError::Held);
            }
            if left < longest_wait {
                longest_wait = left;
                let limited = sqlx::query(LIMIT_WAIT).bind(milliseconds(left));
                answer(self.ttl, limited.execute(&mut connection)).await?;
            }
        }
    }

    async fn take(&mut self) -> Result<Lease, Failed> {
        let mut connection = self.wait().await?;
        // The moment at which the lock was granted is unknown. But the server counts the idle time
        // anew from this request on, and a session that answers this request still has the lock.
        let sure_until = Instant::now() + self.sure_for();
        let asked = sqlx::query_as(TOKEN).bind(&self.name);
        let answered = timeout_at(sure_until, asked.fetch_one(&mut connection)).await;
        let (token, process): (i64, i32) = answered.map_err(|_| LeaseError::NoAnswer)??;
        let token = u64::try_from(token).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let (sender, receiver) = watch::channel(sure_until);
        self.held = Some(Held {
            connection,
            process,
            sure_until: sender,
            teller: None,
        });
        Ok(Lease::new(token, receiver))
    }

    /// Keeps the session from being idle, until the holder can no longer be sure of the lock.
    async fn keep(&mut self, is_body_over: impl Fn() -> bool) -> Result<(), Failed> {
        let sure_for = self.sure_for();
        let pause = pause(self.ttl, sure_for);
        let Some(held) = &mut self.held else {
            return Ok(()); // not entered
        };
        if held.teller.is_some() {
            return Ok(()); // lost before
        }
        // Counted from the request that got the token, whose answer may have taken long.
        let mut next = *held.sure_until.borrow() - sure_for + pause;
        loop {
            let sure_until = *held.sure_until.borrow();
            sleep_until(next.min(sure_until)).await;
            let sent = Instant::now();
            if sure_until <= sent {
                break;
            }
            // The time limit covers all that is left: on this connection, a late answer would delay
            // every other request, too.
            let asked = sqlx::query_scalar::<_, i32>(SESSION).fetch_one(&mut held.connection);
            match timeout_at(sure_until, asked).await {
                Ok(Ok(process)) if held.process == process => {
                    held.sure_until.send_replace(sent + sure_for);
                    next = sent + pause;
                }
                Ok(Ok(_) | Err(_)) | Err(_) => break,
            }
        }
        // The connection stays open until the exit, so that nobody else gets the lock from this end
        // before the body has dropped.
        held.sure_until.send_replace(Instant::now());
        let teller = Teller::of(is_body_over());
        held.teller = Some(teller);
        teller.end()
    }

    async fn give_back(self, outcome: &Outcome) -> Result<(), Failed> {
        let Some(Held {
            mut connection,
            teller,
            ..
        }) = self.held
        else {
            return Ok(());
        };
        if let Some(teller) = teller {
            // A request may be on its way on this connection, so the connection only drops.
            return teller.exit(outcome);
        }
        let asked = sqlx::query_scalar(UNLOCK).bind(&self.name);
        let unlocked = answer(self.ttl, asked.fetch_one(&mut connection)).await;
        // The lock ends with the session in any case.
        let closed = answer(self.ttl, connection.close()).await;
        match unlocked? {
            true => closed,
            // The body did not complete, so its caller need not learn that the lock was lost as
            // well.
            false if !outcome.is_completed() => Ok(()),
            false => Err(LeaseError::Lost),
        }
    }
}

impl AsyncContext for AdvisoryLock {
    type Value = Lease;
    type Error = LeaseError<sqlx::Error>;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<Lease, Self::Error> {
        self.take().await
    }

    async fn beside(&mut self) -> Result<(), Self::Error> {
        self.keep(|| false).await
    }

    async fn exit(self, _lease: Lease, outcome: &Outcome) -> Result<(), Self::Error> {
        self.give_back(outcome).await
    }

    /// Makes the enter `cancellable!`, which a plain `enter` cannot be.
    async fn __coroutine(mut self, lender: Lender<Lease, Self::Error>) -> Result<(), Self::Error> {
        let lease = lender.cancellable(self.take()).await?;
        let keep = self.keep(|| lender.is_body_over());
        let (_lease, outcome) = lender.yield_beside(lease, keep).await;
        self.give_back(outcome).await
    }
}
