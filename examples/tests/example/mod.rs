//! Runs a program of this package, and compares its output with its doc comment.

use std::process::{Command, Output};

/// The built program. `cargo test` and `cargo nextest run` build a package's examples before they
/// run its tests; with `--test` alone they do not.
pub(crate) fn program(name: &str) -> Command {
    let mut path = std::env::current_exe().expect("a test knows its own path");
    path.pop();
    path.set_file_name("examples");
    path.push(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "no {}: run `cargo build --example {name}` first",
        path.display()
    );
    Command::new(path)
}

/// Stdout and stderr.
pub(crate) fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the program prints UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

/// The output below `$ cargo run --example …` in the doc comment of this source.
pub(crate) fn shown(source: &str) -> String {
    let docs = source.lines().map_while(|line| line.strip_prefix("//!"));
    docs.map(|line| line.strip_prefix(' ').unwrap_or(line))
        .skip_while(|line| !line.starts_with("$ cargo run --example"))
        .skip(1)
        .take_while(|line| *line != "```")
        .fold(String::new(), |shown, line| shown + line + "\n")
}

/// Runs the program as its doc comment says, and expects the output that the comment shows.
#[track_caller]
pub(crate) fn prints_what_its_docs_show(name: &str, source: &str) -> String {
    let output = program(name).output().expect("the program runs");
    let (stdout, stderr) = printed(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stderr, "");
    assert_eq!(stdout, shown(source), "bring its doc comment up to date");
    stdout
}

/// Checks that `--help` says what the program is for, and does nothing else.
#[track_caller]
pub(crate) fn has_help(name: &str, words: &[&str]) {
    let output = program(name).arg("--help").output();
    let output = output.expect("the program runs");
    let (help, stderr) = printed(&output);
    assert!(output.status.success(), "{help}{stderr}");
    assert!(help.contains(&format!("Usage: {name}")), "{help}");
    for word in words {
        assert!(help.contains(word), "{word}\n{help}");
    }
}
