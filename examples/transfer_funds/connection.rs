//! A connection to SQLite, PostgreSQL or MariaDB, lent from a pool.
//!
//! A connection goes back to the pool only if nothing about it is in doubt: every statement was
//! answered, and no transaction is open. Any other connection is closed, however its user left it.
//! A user that gives up in the middle of a statement leaves half of an answer on the wire, and the
//! driver for MariaDB would take that for the answer to the next question.

use std::time::Duration;

use sqlx::mysql::{MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, FromRow, MySql, Postgres, Sqlite};

use crate::database_url::Options;

/// SQLite has only one writer at a time; the other connections are for readers.
pub(crate) const CONNECTIONS: u32 = 8;

/// For a database that other programs use as well.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MariaDb(MySqlPool),
}

#[derive(Debug)]
pub(crate) enum Lent {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    MariaDb(PoolConnection<MySql>),
}

/// Compiles the same code three times, once for each kind of database.
macro_rules! each {
    ($of:ident: $lent:expr, $one:ident => $code:expr) => {
        match $lent {
            $of::Sqlite($one) => $code,
            $of::Postgres($one) => $code,
            $of::MariaDb($one) => $code,
        }
    };
}

impl Pool {
    pub(crate) async fn connect(options: Options) -> Result<Self, sqlx::Error> {
        match options {
            Options::Sqlite(options) => {
                let options = options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // With WAL, this survives a crash of the program.
                    .synchronous(SqliteSynchronous::Normal)
                    .busy_timeout(PATIENCE_WITH_OTHERS);
                let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS);
                pool.connect_with(options).await.map(Self::Sqlite)
            }
            Options::Postgres(options) => {
                let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
                pool.connect_with(options).await.map(Self::Postgres)
            }
            Options::MariaDb(options) => {
                let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS);
                pool.connect_with(options).await.map(Self::MariaDb)
            }
        }
    }

    pub(crate) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        let lent = match self {
            Self::Sqlite(pool) => pool.acquire().await.map(Lent::Sqlite),
            Self::Postgres(pool) => pool.acquire().await.map(Lent::Postgres),
            Self::MariaDb(pool) => pool.acquire().await.map(Lent::MariaDb),
        };
        Ok(Connection {
            lent: Some(lent?),
            in_statement: false,
            in_transaction: false,
        })
    }

    pub(crate) async fn close(&self) {
        each!(Self: self, pool => pool.close().await);
    }
}

/// A value for one `?` of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Number(i64),
    Text(&'a str),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

/// A row of any of the databases.
pub(crate) trait Row:
    for<'r> FromRow<'r, SqliteRow>
    + for<'r> FromRow<'r, PgRow>
    + for<'r> FromRow<'r, MySqlRow>
    + Send
    + Unpin
{
}

impl<T> Row for T where
    T: for<'r> FromRow<'r, SqliteRow>
        + for<'r> FromRow<'r, PgRow>
        + for<'r> FromRow<'r, MySqlRow>
        + Send
        + Unpin
{
}

#[derive(Debug)]
pub(crate) struct Connection {
    /// `Some` until it is closed.
    lent: Option<Lent>,
    /// `true` if a statement has begun, and the database's answer has not been read to the end.
    in_statement: bool,
    in_transaction: bool,
}

/// A query with its values.
macro_rules! bound {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match *value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text.to_owned()),
            };
        }
        query
    }};
}

impl Connection {
    pub(crate) fn lent(&mut self) -> &mut Lent {
        self.lent.as_mut().expect("it is closed by its owner alone")
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.lent, Some(Lent::Sqlite(_)))
    }

    /// Runs statements without values.
    pub(crate) async fn run(&mut self, statements: &'static str) -> Result<(), sqlx::Error> {
        self.in_statement = true;
        let done = each!(Lent: self.lent(), lent => {
            sqlx::raw_sql(statements).execute(&mut **lent).await.map(drop)
        });
        self.answered(done)
    }

    /// Runs a statement with a value for each `?`. Returns the number of rows that it changed.
    pub(crate) async fn execute(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        let sql = self.numbered(statement);
        self.in_statement = true;
        let done = each!(Lent: self.lent(), lent => {
            let done = bound!(sqlx::query(sql), values).execute(&mut **lent).await;
            done.map(|done| done.rows_affected())
        });
        self.answered(done)
    }

    /// Runs a query with a value for each `?`. Returns its rows.
    pub(crate) async fn fetch<T: Row>(
        &mut self,
        question: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, sqlx::Error> {
        let sql = self.numbered(question);
        self.in_statement = true;
        let rows = each!(Lent: self.lent(), lent => {
            bound!(sqlx::query_as(sql), values).fetch_all(&mut **lent).await
        });
        self.answered(rows)
    }

    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.in_transaction = true;
        // In SQLite, a plain `BEGIN` would take the lock only with the first write, which may then
        // fail.
        let begin = if self.is_sqlite() {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        };
        self.run(begin).await
    }

    /// Commits, unless a statement was given up in the middle, because its effect is unknown.
    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        if self.in_statement {
            self.close().await?;
            let given_up = "a statement was given up in the middle: the transaction is rolled back";
            return Err(sqlx::Error::Protocol(given_up.into()));
        }
        self.run("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Rolls back, by a statement or, if none can be sent, by closing the connection.
    pub(crate) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        if self.in_statement {
            return self.close().await;
        }
        self.run("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }

    async fn close(mut self) -> Result<(), sqlx::Error> {
        match self.lent.take() {
            Some(lent) => each!(Lent: lent, lent => lent.close().await),
            None => Ok(()),
        }
    }

    /// An error that the database itself sends is an answer. Any other error is not.
    fn answered<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        self.in_statement = !matches!(result, Ok(_) | Err(sqlx::Error::Database(_)));
        result
    }

    /// PostgreSQL numbers its placeholders.
    fn numbered(&self, statement: &'static str) -> AssertSqlSafe<String> {
        let Some(Lent::Postgres(_)) = self.lent else {
            return AssertSqlSafe(statement.into());
        };
        let pieces = statement.split('?').enumerate();
        let numbered = pieces.map(|(number, piece)| match number {
            0 => piece.into(),
            _ => format!("${number}{piece}"),
        });
        AssertSqlSafe(numbered.collect())
    }
}

impl Drop for Connection {
    /// Returns it to the pool, which checks whether it is still alive, unless it is in doubt.
    fn drop(&mut self) {
        if let Some(lent) = &mut self.lent
            && (self.in_statement || self.in_transaction)
        {
            each!(Lent: lent, lent => lent.close_on_drop());
        }
    }
}
