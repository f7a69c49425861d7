//! The program `service_startup`, run as a user runs it.

#![forbid(unsafe_code)]

use std::process::{Command, Output};

/// The built program. `cargo test` and `cargo nextest run` build a package's examples before they
/// run its tests; with `--test` alone they do not.
fn run() -> Output {
    let mut path = std::env::current_exe().expect("a test knows its own path");
    path.pop();
    path.set_file_name("examples");
    path.push(format!("service_startup{}", std::env::consts::EXE_SUFFIX));
    let advice = "run `cargo build --example service_startup` first";
    let output = Command::new(&path).output();
    output.unwrap_or_else(|error| panic!("{}: {error}: {advice}", path.display()))
}

#[test]
fn the_service_leaves_nothing_open_whenever_it_is_stopped() {
    let output = run();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    assert_eq!(errors, "");
    assert_eq!(printed.matches("stopped ").count(), 10, "{printed}");
    assert_eq!(printed.matches("not stopped:").count(), 1, "{printed}");
    assert!(
        printed.ends_with("nothing was left open in any of 11 runs\n"),
        "{printed}"
    );

    // One whole tree: the service is stopped while a request waits for its answer, with a metrics
    // file.
    let (_, run) = printed
        .split_once("stopped before the request is answered:\n")
        .expect("it is one of the moments");
    let tree = "  \
  ┌ directory
  │ ┌ database
  │ │ ┌ metrics
  │ │ │ ┌ listener
  │ │ │ │ ┌ tasks
  │ │ │ │ └ tasks: Cancelled
  │ │ │ └ listener: Cancelled
  │ │ └ metrics: Cancelled
  │ └ database: Cancelled
  └ directory: Cancelled
";
    assert!(run.starts_with(tree), "{run}");
}
