//! A database for a test: created for the test, removed if it passes, and kept for inspection if it
//! fails.

use std::error::Error;
use std::path::PathBuf;

use async_context_manager::prelude::*;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;

type AnyError = Box<dyn Error + Send + Sync>;

/// A pool, and the path of its file.
struct Database {
    pool: SqlitePool,
    path: PathBuf,
}

#[async_context]
async fn database(schema: &'static str) -> Result<Database, AnyError> {
    let directory = TempDir::new()?;
    let path = directory.path().join("test.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::raw_sql(schema).execute(&pool).await?;
    let (database, outcome) = yield_!(Database { pool, path });
    database.pool.close().await;
    if outcome.is_completed() {
        directory.close()?;
    } else {
        eprintln!("kept: {} ({outcome:?})", directory.keep().display());
    }
    Ok(())
}

#[within(database("CREATE TABLE users (name TEXT)") => db)]
#[tokio::test]
async fn a_new_table_is_empty() -> Result<(), AnyError> {
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&db.pool)
        .await?;
    assert_eq!(users, 0);
    Ok(())
}

#[tokio::test]
async fn a_test_that_fails_keeps_its_database() -> Result<(), AnyError> {
    let mut kept = None;
    let failing = database("CREATE TABLE users (name TEXT)").with(async |db| {
        kept = Some(db.path.clone());
        Err::<(), AnyError>("as a failing test does".into())
    });
    assert!(failing.await.is_err());
    let kept = kept.expect("the body ran");
    assert!(kept.exists());
    std::fs::remove_dir_all(kept.parent().expect("it is in a directory"))?;
    Ok(())
}
