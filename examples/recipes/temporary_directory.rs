//! A directory that is removed with its body, however the body ends.

use std::io;
use std::path::PathBuf;

use async_context_manager::prelude::*;
use tempfile::TempDir;
use tokio::{fs, task};

#[async_context]
async fn temporary_directory() -> io::Result<PathBuf> {
    let directory = TempDir::new()?;
    let path = directory.path().to_owned();
    let (_path, _outcome) = yield_!(path);
    // The `Drop` of `TempDir` would remove it too, but would block the runtime, and hide an error.
    task::spawn_blocking(|| directory.close()).await?
}

#[tokio::test]
async fn a_directory_is_there_in_the_body_and_gone_after_it() -> io::Result<()> {
    let path = temporary_directory()
        .with(async |path| {
            fs::write(path.join("notes.txt"), "hello").await?;
            Ok(path.clone())
        })
        .await?;
    assert!(!fs::try_exists(path).await?);
    Ok(())
}

#[tokio::test]
async fn it_is_gone_after_a_failure_as_well() {
    let mut seen = None;
    let result = temporary_directory()
        .with(async |path| {
            seen = Some(path.clone());
            fs::read(path.join("no such file")).await
        })
        .await;
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(!seen.expect("the body ran").exists());
}
