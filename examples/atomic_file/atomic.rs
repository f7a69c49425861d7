//! The context: a file that is there as a whole, or not at all.

use std::io;
use std::path::{Path, PathBuf};

use async_context_manager::prelude::*;
use tempfile::{Builder, NamedTempFile};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

/// A file to write what is to be in `target`. If the body completes it takes the place of the target; if
/// not, the target stays as it is, or stays away.
#[async_context]
pub(crate) async fn atomic_file(target: PathBuf) -> io::Result<File> {
    // The file is replaced, not a link to it.
    let target = fs::canonicalize(&target).await.unwrap_or(target);
    // It is removed when it drops, too, for the case that this function does not come to its end.
    let temporary = beside(&target).await?;
    let file = File::from_std(temporary.as_file().try_clone()?);

    let (mut file, outcome) = yield_!(file);

    if !outcome.is_completed() {
        drop(file);
        return temporary.close();
    }
    file.flush().await?;
    // First the content, then the name: after a power cut there is no name without its content.
    file.sync_all().await?;
    temporary.persist(&target)?;
    sync_directory(directory_of(&target)).await
}

/// A new file that nobody else has, in the directory of the target: a rename works within one file
/// system only.
async fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As for any new file: the umask takes away from it.
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

/// What the names of temporary files begin with. Those that a killed process has left may be removed.
pub(crate) const PREFIX: &str = ".atomic-";

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// The rename is on disk when this has ended.
#[cfg(unix)]
async fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory).await?.sync_all().await
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "elsewhere a directory is no file")]
async fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
