//! The context: a file that exists as a whole, or not at all.

use std::io;
use std::path::{Path, PathBuf};

use async_context_manager::prelude::*;
use tempfile::{Builder, NamedTempFile};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

/// A file for the new content of `target`. If the body completes, the file takes the place of the
/// target; otherwise the target stays as it is, or does not exist.
#[async_context]
pub(crate) async fn atomic_file(target: PathBuf) -> io::Result<File> {
    // If the target is a link, the file that it leads to is replaced.
    let target = fs::canonicalize(&target).await.unwrap_or(target);
    // Its drop removes it, too, if this function does not run to its end.
    let temporary = beside(&target).await?;
    let file = File::from_std(temporary.as_file().try_clone()?);

    let (mut file, outcome) = yield_!(file);

    if !outcome.is_completed() {
        drop(file);
        return temporary.close();
    }
    file.flush().await?;
    // First the content, then the name: after a power cut, the name never exists without its
    // content.
    file.sync_all().await?;
    temporary.persist(&target)?;
    sync_directory(directory_of(&target)).await
}

/// Creates a new file that nobody else has, in the directory of the target: a rename only works
/// within one file system.
async fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As for any new file; the umask removes some of these permissions.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let temporary = builder.tempfile_in(directory_of(target))?;
    if let Ok(metadata) = fs::metadata(target).await {
        temporary
            .as_file()
            .set_permissions(metadata.permissions())?;
    }
    Ok(temporary)
}

/// The beginning of the names of temporary files. Files that a killed process has left may be
/// removed.
pub(crate) const PREFIX: &str = ".atomic-";

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// When this has ended, the rename is on disk.
#[cfg(unix)]
async fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory).await?.sync_all().await
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "elsewhere a directory is no file")]
async fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
