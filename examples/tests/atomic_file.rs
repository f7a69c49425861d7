//! Runs the program `atomic_file` as a user runs it, and kills it. Drops its context at every poll.

#![forbid(unsafe_code)]

#[path = "../atomic_file/atomic.rs"]
mod atomic;
mod example;

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use async_context_manager::prelude::*;
use async_context_manager::testing::cancel_everywhere;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use atomic::{PREFIX, atomic_file};

type Tested = Result<(), Box<dyn Error>>;

const OLD: &str = "what was there before";

/// A directory with a file in it, and nothing else.
struct Desk(TempDir);

impl Desk {
    fn new() -> Result<Self, Box<dyn Error>> {
        let desk = Self(TempDir::new()?);
        fs::write(desk.target(), OLD)?;
        Ok(desk)
    }

    fn target(&self) -> PathBuf {
        self.0.path().join("target.txt")
    }

    fn has_old(&self) -> Result<bool, Box<dyn Error>> {
        Ok(fs::read_to_string(self.target())? == OLD)
    }

    /// The program, waiting for input.
    fn writer(&self) -> Result<Child, Box<dyn Error>> {
        let mut program = example::program("atomic_file");
        let program = program.arg(self.target()).stdin(Stdio::piped());
        Ok(program.stderr(Stdio::piped()).spawn()?)
    }

    fn temporary(&self) -> Result<Vec<PathBuf>, Box<dyn Error>> {
        let mut found = Vec::new();
        for file in fs::read_dir(self.0.path())? {
            let file = file?;
            if file.file_name().to_string_lossy().starts_with(PREFIX) {
                found.push(file.path());
            }
        }
        Ok(found)
    }

    /// Waits until this much is in the temporary file.
    fn wait_for(&self, written: usize) -> Tested {
        let begun = Instant::now();
        loop {
            if let [temporary] = &self.temporary()?[..]
                && fs::metadata(temporary)?.len() == written as u64
            {
                return Ok(());
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{written}");
            sleep(Duration::from_millis(1));
        }
    }
}

/// A mebibyte, in pieces that can be distinguished.
fn pieces() -> Vec<String> {
    let piece = |number| format!("{number:>7}\n").repeat(8192);
    (0..16).map(piece).collect()
}

fn feed(writer: &mut Child, pieces: &[String]) -> Tested {
    let stdin = writer.stdin.as_mut().ok_or("stdin is piped")?;
    for piece in pieces {
        stdin.write_all(piece.as_bytes())?;
    }
    stdin.flush()?;
    Ok(())
}

#[test]
fn only_the_writer_that_completes_changes_the_file() {
    let source = include_str!("../atomic_file/main.rs");
    let stdout = example::prints_what_its_docs_show("atomic_file", source);
    assert_eq!(stdout.matches("\"the new notes\", 0 files").count(), 4);
    assert_eq!(stdout.matches("\"the old notes\", 1 files").count(), 1);
}

#[test]
fn help_tells_what_it_is() {
    example::has_help("atomic_file", &["[TARGET]", "or not at all"]);
}

#[test]
fn what_comes_in_replaces_the_file() -> Tested {
    let desk = Desk::new()?;
    let mut writer = desk.writer()?;
    feed(&mut writer, &pieces())?;
    assert!(writer.wait_with_output()?.status.success());
    assert!(fs::read_to_string(desk.target())? == pieces().concat());
    assert!(desk.temporary()?.is_empty());
    Ok(())
}

#[cfg(unix)]
#[test]
fn the_permissions_stay_and_a_link_is_followed() -> Tested {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let desk = Desk::new()?;
    let mode = |path| fs::metadata(path).map(|file| file.permissions().mode() & 0o777);
    fs::set_permissions(desk.target(), fs::Permissions::from_mode(0o640))?;
    let link = desk.0.path().join("link.txt");
    symlink("target.txt", &link)?;
    let mut program = example::program("atomic_file");
    let mut writer = program.arg(&link).stdin(Stdio::piped()).spawn()?;
    feed(&mut writer, &["new".into()])?;
    assert!(writer.wait_with_output()?.status.success());
    assert!(fs::symlink_metadata(&link)?.is_symlink());
    assert_eq!(fs::read_to_string(desk.target())?, "new");
    assert_eq!(mode(desk.target())?, 0o640);
    Ok(())
}

#[test]
fn a_target_that_cannot_be_replaced_is_an_error_and_nothing_is_left() -> Tested {
    let desk = Desk::new()?;
    fs::remove_file(desk.target())?;
    fs::create_dir_all(desk.target().join("a directory with something in it"))?;
    let mut writer = desk.writer()?;
    feed(&mut writer, &["new".into()])?;
    let output = writer.wait_with_output()?;
    let (_, stderr) = example::printed(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(desk.temporary()?.is_empty());
    Ok(())
}

#[cfg(unix)]
#[test]
fn ctrl_c_in_the_middle_leaves_the_old_file_alone() -> Tested {
    let desk = Desk::new()?;
    let mut writer = desk.writer()?;
    feed(&mut writer, &pieces()[..3])?;
    desk.wait_for(pieces()[..3].concat().len())?;
    let kill = format!("kill -s INT {}", writer.id());
    let mut shell = std::process::Command::new("sh");
    assert!(shell.args(["-c", &kill]).status()?.success());
    // `wait` would close stdin, and the end of the input is the end of the body.
    let stdin = writer.stdin.take();
    assert_eq!(writer.wait()?.code(), Some(130));
    drop(stdin);
    assert!(desk.has_old()?);
    assert!(desk.temporary()?.is_empty());
    Ok(())
}

#[test]
fn a_writer_that_is_killed_while_it_writes_leaves_the_old_file() -> Tested {
    let pieces = pieces();
    for written in 0..=pieces.len() {
        let desk = Desk::new()?;
        let mut writer = desk.writer()?;
        feed(&mut writer, &pieces[..written])?;
        desk.wait_for(pieces[..written].concat().len())?;
        writer.kill()?;
        writer.wait()?;
        assert!(desk.has_old()?, "after {written} pieces");
        assert_eq!(desk.temporary()?.len(), 1, "a kill leaves it");
    }
    Ok(())
}

/// The program is killed at 150 moments from the end of its input on: before, while and after it
/// writes the file to disk and renames it.
#[test]
fn a_writer_that_is_killed_while_it_replaces_leaves_one_whole_file() -> Tested {
    let pieces = pieces();
    let new = pieces.concat();
    let finish = |kill_after: Option<Duration>| -> Result<(bool, Duration), Box<dyn Error>> {
        let desk = Desk::new()?;
        let mut writer = desk.writer()?;
        feed(&mut writer, &pieces)?;
        desk.wait_for(new.len())?;
        let begun = Instant::now();
        drop(writer.stdin.take());
        if let Some(moment) = kill_after {
            while begun.elapsed() < moment {
                std::hint::spin_loop();
            }
            writer.kill()?;
        }
        writer.wait()?;
        let took = begun.elapsed();
        let content = fs::read_to_string(desk.target())?;
        let is_new = content == new;
        assert!(is_new || content == OLD, "it is half-written");
        assert!(!is_new || desk.temporary()?.is_empty());
        Ok((is_new, took))
    };
    let (is_new, took) = finish(None)?;
    assert!(is_new, "nobody has killed it");
    let moments = 150;
    let mut replaced = 0;
    for moment in 0..moments {
        let (is_new, _) = finish(Some(took * moment / moments))?;
        replaced += usize::from(is_new);
    }
    println!("{replaced} of {moments} had replaced it; the whole took {took:?}");
    Ok(())
}

#[tokio::test]
async fn dropped_at_any_poll_it_leaves_one_whole_file_and_nothing_else() -> Tested {
    let desk = Desk::new()?;
    let runs = cancel_everywhere(
        || {
            atomic_file(desk.target()).with(async |file| {
                file.write_all(b"what ").await?;
                file.flush().await?;
                file.write_all(b"is new").await
            })
        },
        |run| {
            let content = fs::read_to_string(desk.target()).expect("it is there");
            let is_new = content == "what is new";
            assert!(is_new || content == OLD, "{content}");
            assert!(is_new || run.is_cancelled());
            assert!(desk.temporary().expect("it can be read").is_empty());
            assert!(run.reports().is_empty(), "{run:?}");
            fs::write(desk.target(), OLD).expect("it can be written");
        },
    )
    .await;
    assert!(runs > 3, "{runs}");
    Ok(())
}
