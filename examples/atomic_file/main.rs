//! Replaces a file as a whole, or not at all: a reader always finds either the old content or the
//! new, whatever happens to the writer.
//!
//! ```text
//! $ generate-report | cargo run --example atomic_file -- report.txt
//! ```
//!
//! The context `atomic_file` (see `atomic.rs`) lends a temporary file in the same directory. If the
//! body completes, the file is written to disk and renamed, which is one step for a reader.
//! Otherwise it is removed. In short:
//!
//! ```text
//! let temporary = Builder::new().tempfile_in(directory)?;
//! let (mut file, outcome) = yield_!(File::from_std(temporary.as_file().try_clone()?));
//! if !outcome.is_completed() {
//!     return temporary.close();
//! }
//! file.sync_all().await?;                         // the content is on disk,
//! temporary.persist(&target)?;                    // it has its name,
//! File::open(directory).await?.sync_all().await   // and the name is on disk
//! ```
//!
//! Without an argument, the program shows this in a temporary directory, with four writers of which
//! one completes:
//!
//! ```text
//! $ cargo run --example atomic_file
//! before                       "the old notes", 0 files beside it
//! in the body                  "the old notes", 1 files beside it
//! completed                    "the new notes", 0 files beside it
//! failed with `no more notes`  "the new notes", 0 files beside it
//! panicked                     "the new notes", 0 files beside it
//! cancelled                    "the new notes", 0 files beside it
//! ```
//!
//! What it promises, and what it does not:
//!
//! - The target is never half-written: not after an error (a full disk, a broken pipe at the
//!   reader), a panic, or a cancellation (Ctrl-C here), and not when the process is killed in the
//!   middle.
//! - A process that is *killed* cannot remove its temporary file: `.atomic-…` stays beside the
//!   target, and may be removed.
//! - The end of the input is the end of the body. The program cannot know whether the program that
//!   writes into the pipe ended well, or failed.
//! - When `with` returns `Ok`, content and name are on disk (on Unix; elsewhere the name may not be
//!   yet). An error of the last step, the sync of the directory, comes after the rename: then the
//!   target is already the new file.
//! - If there are two writers at the same time, each replaces the whole file, and the last one
//!   stays.
//! - A link is followed, and the file that it leads to is replaced. The file keeps its permissions,
//!   but not its owner.

#![forbid(unsafe_code)]

mod atomic;

use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fmt, io, panic};

use async_context_manager::{detached, prelude::*};
use clap::Parser;
use tempfile::TempDir;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use tokio::{select, signal};

use crate::atomic::atomic_file;

/// Replaces a file by what comes in on stdin: as a whole, when all of it has come, or not at all.
///
/// Without a target it shows in a temporary directory what becomes of a file when its writer completes,
/// fails, panics, or is cancelled.
#[derive(Debug, Parser)]
#[command(name = "atomic_file", version)]
struct Options {
    /// The file to replace, or to create
    target: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Options::parse().target {
        Some(target) => {
            select! {
                ended = detached::drained(replace(target)) => ended,
                _ = signal::ctrl_c() => {
                    // The temporary file is removed, and the writer is gone. Tokio would wait for
                    // more on stdin.
                    detached::drain().await;
                    std::process::exit(130);
                }
            }
        }
        None => detached::drained(Box::pin(demonstrate())).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn replace(target: PathBuf) -> io::Result<()> {
    atomic_file(target)
        .with(async |file| {
            tokio::io::copy(&mut tokio::io::stdin(), file).await?;
            Ok(())
        })
        .await
}

/// One file, and four writers.
async fn demonstrate() -> io::Result<()> {
    // The panic is planned.
    panic::set_hook(Box::new(|_| {}));
    let directory = TempDir::new()?;
    let target = directory.path().join("notes.txt");
    fs::write(&target, "the old notes").await?;
    show("before", &target).await?;

    let written = atomic_file(target.clone()).with(async |file| {
        write(file, "the new notes").await?;
        // Nobody can see the new lines yet.
        show("in the body", &target).await
    });
    written.await?;
    show("completed", &target).await?;

    let failed: io::Result<()> = atomic_file(target.clone())
        .with(async |file| {
            write(file, "half of the n").await?;
            Err(io::Error::other("no more notes"))
        })
        .await;
    show(format_args!("failed with `{}`", error_of(failed)), &target).await?;

    let panicking = atomic_file(target.clone()).with(async |file| {
        write(file, "half of the n").await?;
        panic!("no more notes")
    });
    let panicked: Result<io::Result<()>, _> = tokio::spawn(panicking).await;
    assert!(panicked.is_err_and(|error| error.is_panic()));
    show("panicked", &target).await?;

    let (half, is_written) = tokio::sync::oneshot::channel();
    let writing = atomic_file(target.clone()).with(async |file| {
        write(file, "half of the n").await?;
        let _ = half.send(());
        pending::<io::Result<()>>().await
    });
    select! {
        ended = writing => ended?,
        _ = is_written => {}
    }
    detached::drain().await;
    show("cancelled", &target).await?;
    directory.close()
}

async fn write(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes()).await?;
    file.flush().await
}

fn error_of(result: io::Result<()>) -> String {
    result.map_or_else(|error| error.to_string(), |()| "no error".into())
}

/// Prints the content of the file, and how many other files are beside it.
async fn show(when: impl fmt::Display, target: &Path) -> io::Result<()> {
    let content = fs::read_to_string(target).await?;
    let mut beside = 0;
    let mut files = fs::read_dir(target.parent().unwrap_or(target)).await?;
    while let Some(file) = files.next_entry().await? {
        beside += usize::from(file.path() != target);
    }
    println!(
        "{:<28} {content:?}, {beside} files beside it",
        when.to_string()
    );
    Ok(())
}
