//! One resource, written twice: by hand, as a type with `enter` and `exit`, and as one function
//! under `#[async_context]`. Its users cannot tell the two apart.
//!
//! The resource is a journal: a file whose first line says that it was opened, and whose last line
//! says how its user ended. So the journal is its own trace. The program uses both journals in five
//! ways, and prints what is in the files afterwards.
//!
//! ```text
//! $ cargo run --example async_resource
//!                              by hand                                  as a generator
//! the body completes           opened                                   opened
//!                              working                                  working
//!                              closed: completed                        closed: completed
//!                              the caller has a result                  the caller has a result
//! it fails                     opened                                   opened
//!                              working                                  working
//!                              closed: failed with `no paper`           closed: failed with `no paper`
//!                              the caller has an error: Other           the caller has an error: Other
//! it panics                    opened                                   opened
//!                              working                                  working
//!                              closed: panicked with `no ink`           closed: panicked with `no ink`
//!                              the caller has the panic                 the caller has the panic
//! its caller goes away         opened                                   opened
//!                              working                                  working
//!                              closed: cancelled                        closed: cancelled
//!                              the caller has gone                      the caller has gone
//! the file is there already    another's                                another's
//!                              the caller has an error: AlreadyExists   the caller has an error: AlreadyExists
//! equal in 5 of 5 cases
//! ```
//!
//! The five cases are all ways of ending. The caller that goes away is an aborted task: nobody
//! waits for the journal any more, and its last line is still written. If the file already exists,
//! `enter` refuses it. Then there is neither body nor exit, and the existing file stays as it was.
//!
//! In most cases, write the function:
//!
//! | by hand | as a generator |
//! | --- | --- |
//! | a type that others can name, with fields, methods, other traits | an `impl AsyncContext` (`boxed` makes a type of it that can be named) |
//! | what exit needs must be in `self` or in the value | a local variable lives from enter to exit |
//! | all of enter may be given up, or nothing: `cancellable_enter` | `cancellable!` marks a single await |
//! | `Verdict = Suppression` | `#[async_context(suppress)]` |
//!
//! In both forms, the future may be dropped anywhere; exit runs once, knows why, and runs before
//! the exits of the contexts around it. `transaction-expanded.rs` shows the output of the macro.

#![forbid(unsafe_code)]

use std::fmt;
use std::future::pending;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{io, panic};

use async_context_manager::{detached, prelude::*};
use clap::Parser;
use tempfile::TempDir;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;

/// Uses the same resource twice, as a type that implements the trait by hand and as a function under
/// `#[async_context]`, and prints side by side what either leaves in its file.
///
/// Exits with 0 if both are equal whatever happens, with 1 if not.
#[derive(Debug, Parser)]
#[command(name = "async_resource", version)]
struct Options {}

/// By hand: a type with two functions.
struct Journal {
    path: PathBuf,
}

impl AsyncContext for Journal {
    type Value = File;
    type Error = io::Error;
    type Verdict = ();

    async fn enter(&mut self) -> io::Result<File> {
        let mut file = File::create_new(&self.path).await?;
        line(&mut file, "opened").await?;
        Ok(file)
    }

    async fn exit(self, mut file: File, outcome: &Outcome) -> io::Result<()> {
        line(&mut file, ending(outcome)).await?;
        file.sync_all().await
    }
}

/// As a generator: one function, with the body in place of the yield.
#[async_context]
async fn journal(path: PathBuf) -> io::Result<File> {
    let mut file = File::create_new(&path).await?;
    line(&mut file, "opened").await?;
    let (mut file, outcome) = yield_!(file);
    line(&mut file, ending(outcome)).await?;
    file.sync_all().await
}

async fn line(file: &mut File, text: impl fmt::Display) -> io::Result<()> {
    file.write_all(format!("{text}\n").as_bytes()).await?;
    file.flush().await
}

/// How the body ended, in words.
fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed => "closed: completed".into(),
        Outcome::Failed(error) => match error.downcast_ref::<io::Error>() {
            Some(error) => format!("closed: failed with `{error}`"),
            None => format!("closed: failed with {error:?}"),
        },
        Outcome::Panicked(panic) => format!("closed: panicked with `{}`", panic.message()),
        Outcome::Cancelled => "closed: cancelled".into(),
        // A later version may have more outcomes.
        other => format!("closed: {other:?}"),
    }
}

/// What happens to the user of a journal.
#[derive(Debug, Clone, Copy)]
enum Case {
    Completes,
    Fails,
    Panics,
    IsCancelled,
    IsRefused,
}

const CASES: [(Case, &str); 5] = [
    (Case::Completes, "the body completes"),
    (Case::Fails, "it fails"),
    (Case::Panics, "it panics"),
    (Case::IsCancelled, "its caller goes away"),
    (Case::IsRefused, "the file is there already"),
];

/// Uses the context, and returns the content of the file afterwards. It does not know which of the
/// two it uses.
async fn trace_of<C>(context: impl Fn(PathBuf) -> C, case: Case) -> io::Result<Vec<String>>
where
    C: AsyncContext<Value = File, Error = io::Error, Verdict = ()> + 'static,
{
    let directory = TempDir::new()?;
    let path = directory.path().join("journal.txt");
    if let Case::IsRefused = case {
        fs::write(&path, "another's\n").await?;
    }
    let (working, works) = oneshot::channel();
    let used = context(path.clone()).with(async move |file| {
        line(file, "working").await?;
        match case {
            Case::Fails => Err(io::Error::other("no paper")),
            Case::Panics => panic!("no ink"),
            Case::IsCancelled => {
                let _ = working.send(());
                pending().await
            }
            Case::Completes | Case::IsRefused => Ok(()),
        }
    });
    let task = tokio::spawn(used);
    let caller = task.abort_handle();
    if works.await.is_ok() {
        caller.abort();
    }
    let ended = match task.await {
        Ok(Ok(())) => "the caller has a result".into(),
        Ok(Err(error)) => format!("the caller has an error: {:?}", error.kind()),
        Err(error) if error.is_panic() => "the caller has the panic".into(),
        Err(_) => "the caller has gone".into(),
    };
    detached::drain().await;

    let mut trace: Vec<_> = fs::read_to_string(&path)
        .await?
        .lines()
        .map(str::to_owned)
        .collect();
    trace.push(ended);
    Ok(trace)
}

#[tokio::main]
async fn main() -> io::Result<ExitCode> {
    Options::parse();
    // The panic is planned.
    panic::set_hook(Box::new(|_| {}));
    let mut equal = 0;
    println!("{:<28} {:<40} as a generator", "", "by hand");
    for (case, title) in CASES {
        let by_hand = trace_of(|path| Journal { path }, case).await?;
        let generated = trace_of(journal, case).await?;
        let mut title = title;
        for (left, right) in by_hand.iter().zip(&generated) {
            println!("{title:<28} {left:<40} {right}");
            title = "";
        }
        equal += usize::from(by_hand == generated);
    }
    println!("equal in {equal} of {} cases", CASES.len());
    Ok(if equal == CASES.len() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
