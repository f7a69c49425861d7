//! A pool of connections that is replaced while it is in use, when its file of settings changes.
//!
//! Use it for settings, certificates and passwords that change while the service runs. A use that
//! has begun goes on with the old pool, and the last such use closes that pool. A use that begins
//! after the reload gets the new pool. If the new settings are wrong, the reload fails, and the old
//! pool stays: a typing error does not stop the service.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_context_manager::{Shared, prelude::*, swappable};
use sqlx::sqlite::SqlitePool;
use tokio::fs;

#[derive(Debug, thiserror::Error)]
enum PoolError {
    #[error("the file of settings: {0}")]
    Settings(#[from] io::Error),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

#[async_context]
async fn pool(settings: PathBuf) -> Result<SqlitePool, PoolError> {
    let url = cancellable!(fs::read_to_string(&settings)).await?;
    let pool = cancellable!(SqlitePool::connect(url.trim())).await?;
    let (pool, _outcome) = yield_!(pool);
    pool.close().await; // waits until all connections have been returned
    Ok(())
}

type Pools = Shared<SqlitePool, PoolError>;

fn pools(settings: PathBuf) -> Pools {
    swappable(move || pool(settings.clone()))
}

/// Call this when a signal (`SIGHUP`), a request of an operator or a watcher of the file asks for
/// it.
async fn reload(pools: &Pools, settings: PathBuf) -> Result<(), Arc<PoolError>> {
    pools.replace(move || pool(settings.clone())).await
}

#[tokio::test]
async fn a_use_keeps_its_pool_and_a_mistake_in_the_settings_changes_nothing() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let settings = directory.path().join("settings");
    let url = |name| format!("sqlite:{}/{name}?mode=rwc\n", directory.path().display());
    let name = |pool: &SqlitePool| {
        let options = pool.connect_options();
        options.get_filename().file_name().unwrap().to_owned()
    };

    fs::write(&settings, url("old.db")).await?;
    let pools = pools(settings.clone());
    let user = pools.clone().guard().await.unwrap();
    let old: SqlitePool = SqlitePool::clone(&user);

    fs::write(&settings, "postgres:/a typing error").await?;
    assert!(reload(&pools, settings.clone()).await.is_err());
    let now = pools.clone().with(async |pool| Ok(name(pool)));
    assert_eq!(now.await.unwrap(), "old.db");

    fs::write(&settings, url("new.db")).await?;
    reload(&pools, settings).await.unwrap();
    let now = pools.clone().with(async |pool| Ok(name(pool)));
    assert_eq!(now.await.unwrap(), "new.db");

    // The old pool is closed by its last user.
    assert!(name(&user) == "old.db" && !old.is_closed());
    Guard::close(user).await.unwrap();
    assert!(old.is_closed());
    async_context_manager::detached::drain().await; // closes the new pool
    Ok(())
}
