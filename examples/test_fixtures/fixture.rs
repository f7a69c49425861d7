//! Databases of a test's own.

use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};

use async_context_manager::prelude::*;
use sqlx::any::{AnyConnectOptions, install_default_drivers};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// An empty SQLite database in a temporary directory. The value is its URL.
#[async_context]
pub(crate) async fn file_database() -> Result<String, AnyError> {
    let directory = TempDir::with_prefix("fixture-")?;
    let file = directory.path().join("test.db");

    let (_, _) = yield_!(format!("sqlite://{}?mode=rwc", file.display()));

    directory.close()?;
    Ok(())
}

/// An additional, empty database on the server of this URL. The value is the URL of the database.
#[async_context]
pub(crate) async fn server_database(server: String) -> Result<String, AnyError> {
    install_default_drivers();
    let mut options: AnyConnectOptions = server.parse()?;
    let mut connection = options.connect().await?;
    // No other test uses this name, nor a process that was killed.
    let name = format!("fixture_{:016x}", RandomState::new().hash_one(()));
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await?;

    options.database_url.set_path(&name);
    let (_, _) = yield_!(options.database_url.into());

    // PostgreSQL drops a database that somebody is connected to only by force.
    let force = match connection.backend_name() {
        "PostgreSQL" => "WITH (FORCE)",
        _ => "",
    };
    let drop = AssertSqlSafe(format!("DROP DATABASE {name} {force}"));
    sqlx::raw_sql(drop).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}
