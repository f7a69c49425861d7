//! A savepoint in a transaction: a failure inside it undoes only the savepoint.
//!
//! The savepoint borrows the transaction, and so cannot go on in the background by itself: it is
//! used with `with_scoped`. If it is given up in the middle, that is reported as `NotRun`, and the
//! savepoint is undone with its transaction, whose exit does run.

use async_context_manager::prelude::*;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Acquire as _, Sqlite, SqliteConnection, Transaction};

type Tx = Transaction<'static, Sqlite>;

#[async_context]
async fn transaction(pool: SqlitePool) -> Result<Tx, sqlx::Error> {
    // With PostgreSQL, these must be two awaits: see `transaction.rs`.
    let tx = cancellable!(pool.begin()).await?;
    let (tx, outcome) = yield_!(tx);
    if outcome.is_completed() {
        tx.commit().await
    } else {
        tx.rollback().await
    }
}

#[async_context]
async fn savepoint(outer: &mut Tx) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
    let savepoint = outer.begin().await?;
    let (savepoint, outcome) = yield_!(savepoint);
    if outcome.is_completed() {
        savepoint.commit().await
    } else {
        savepoint.rollback().await
    }
}

async fn add(db: &mut SqliteConnection, id: i64) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO numbers VALUES (?)");
    insert.bind(id).execute(db).await?;
    Ok(())
}

async fn database() -> Result<SqlitePool, sqlx::Error> {
    let options = SqlitePoolOptions::new().max_connections(1);
    let pool = options.connect("sqlite::memory:").await?;
    sqlx::raw_sql("CREATE TABLE numbers (id INTEGER PRIMARY KEY)")
        .execute(&pool)
        .await?;
    Ok(pool)
}

async fn numbers(pool: &SqlitePool) -> Result<Vec<i64>, sqlx::Error> {
    let query = sqlx::query_scalar("SELECT id FROM numbers ORDER BY id");
    query.fetch_all(pool).await
}

#[tokio::test]
async fn what_fails_in_a_savepoint_is_undone_alone() -> Result<(), sqlx::Error> {
    let pool = database().await?;
    transaction(pool.clone())
        .with(async |tx| {
            add(tx, 1).await?;
            let failed = savepoint(tx)
                .with_scoped(async |tx| {
                    add(tx, 2).await?;
                    add(tx, 1).await // there is a 1
                })
                .await;
            assert!(failed.is_err());
            savepoint(tx).with_scoped(async |tx| add(tx, 3).await).await
        })
        .await?;
    assert_eq!(numbers(&pool).await?, [1, 3]);
    Ok(())
}

#[tokio::test]
async fn what_fails_around_a_savepoint_undoes_it_too() -> Result<(), sqlx::Error> {
    let pool = database().await?;
    let failed = transaction(pool.clone())
        .with(async |tx| {
            savepoint(tx)
                .with_scoped(async |tx| add(tx, 1).await)
                .await?;
            Err::<(), _>(sqlx::Error::RowNotFound)
        })
        .await;
    assert!(failed.is_err());
    assert!(numbers(&pool).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn in_a_spawned_task_both_are_send() -> Result<(), sqlx::Error> {
    let pool = database().await?;
    let task = tokio::spawn(
        transaction(pool.clone())
            .with(async |tx| savepoint(tx).with_scoped(async |tx| add(tx, 1).await).await),
    );
    task.await.expect("it does not panic")?;
    assert_eq!(numbers(&pool).await?, [1]);
    Ok(())
}
