//! A shop to test, and its fixture.

use async_context_manager::prelude::*;
use sqlx::AnyPool;
use sqlx::any::install_default_drivers;

use crate::fixture::{AnyError, file_database};

/// A shop with one lamp, in a database of its own.
#[async_context]
pub(crate) async fn shop() -> Result<AnyPool, AnyError> {
    install_default_drivers();
    let database = file_database().guard().await?;
    let pool = AnyPool::connect(&database).await?;
    sqlx::raw_sql("CREATE TABLE items (name TEXT); INSERT INTO items VALUES ('lamp')")
        .execute(&pool)
        .await?;

    let (pool, _) = yield_!(pool);

    pool.close().await;
    Guard::close(database).await
}

/// The code under test. Returns `false` if there is no such item any more.
pub(crate) async fn buy(shop: &AnyPool, item: &str) -> Result<bool, AnyError> {
    let delete = sqlx::query("DELETE FROM items WHERE name = $1").bind(item);
    Ok(delete.execute(shop).await?.rows_affected() == 1)
}
