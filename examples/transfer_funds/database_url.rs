//! The user's choice of a place for the bank: a file, or a database on a server.

use std::fmt;
use std::str::FromStr;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

/// A database of the user for the bank. It prints without its password.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseUrl {
    shown: String,
    pub(crate) options: Options,
}

/// How to connect to one of the three kinds of databases.
#[derive(Debug, Clone)]
pub(crate) enum Options {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
    MariaDb(MySqlConnectOptions),
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, _) = url.split_once(':').unwrap_or_default();
        let options = match scheme {
            "sqlite" => url.parse().map(Options::Sqlite),
            "postgres" | "postgresql" => url.parse().map(Options::Postgres),
            "mysql" | "mariadb" => url.parse().map(Options::MariaDb),
            _ => {
                return Err(
                    "it begins with `sqlite:`, `postgres:` or `mysql:`, for example \
                     `sqlite://bank.db` or `postgres://localhost/bank`"
                        .into(),
                );
            }
        };
        let options = options.map_err(|error: sqlx::Error| error.to_string())?;
        let shown = without_password(url);
        Ok(Self { shown, options })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn without_password(url: &str) -> String {
    let cut = || {
        let (scheme, rest) = url.split_once("://")?;
        let (login, place) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{place}"))
    };
    cut().unwrap_or_else(|| url.into())
}
