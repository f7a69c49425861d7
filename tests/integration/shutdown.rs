//! The end of a program, as a process, with real signals.

use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use async_context_manager::shutdown;
use tokio::runtime::Builder;

/// The program of `src/bin/ends.rs`, while it runs.
struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    fn start(how: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ends"))
            .arg(how)
            .env_remove("RUST_BACKTRACE")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, stdout }
    }

    /// Waits until it says this.
    fn says(&mut self, line: &str) {
        let mut said = String::new();
        self.stdout.read_line(&mut said).expect("it is text");
        assert_eq!(said.trim_end(), line);
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(kill.expect("there is `kill`").success());
    }

    /// Waits for its end. Gives its exit code, and what it wrote since.
    fn ends(mut self) -> (Option<i32>, String, String) {
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).expect("it is text");
        let mut stderr = String::new();
        let mut piped = self.child.stderr.take().expect("it is piped");
        piped.read_to_string(&mut stderr).expect("it is text");
        let status = self.child.wait().expect("it has ended");
        (status.code(), stdout, stderr)
    }
}

#[test]
fn a_program_that_ends_by_itself_has_the_exit_code_of_its_app() {
    let (code, stdout, stderr) = Program::start("ends").ends();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, "closed: Completed\n");
    let (code, stdout, stderr) = Program::start("fails").ends();
    assert_eq!(
        (code, stderr.as_str()),
        (Some(1), "Error: \"no database\"\n")
    );
    assert_eq!(stdout, "closed: Failed(\"no database\")\n");
}

#[test]
fn a_program_that_panics_drains_and_has_the_exit_code_of_a_panic() {
    let (code, stdout, stderr) = Program::start("panics").ends();
    assert_eq!(code, Some(101));
    assert!(stderr.contains("no good"), "{stderr}");
    assert!(stdout.starts_with("closed: Panicked"), "{stdout}");
}

#[test]
fn what_a_program_that_ends_by_itself_has_left_in_the_background_ends_before_it() {
    let (code, stdout, stderr) = Program::start("leaves").ends();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, "closed: Cancelled\n");
}

#[test]
fn a_program_that_tells_itself_ends_as_at_a_signal() {
    let (code, stdout, stderr) = Program::start("tells itself").ends();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, "closed: Completed\n");
}

#[test]
fn a_program_that_is_told_and_fails_has_the_exit_code_of_its_error() {
    let mut program = Program::start("obeys, and fails");
    program.says("ready");
    program.signal("TERM");
    let (code, _, stderr) = program.ends();
    assert_eq!((code, stderr.as_str()), (Some(1), "Error: \"no time\"\n"));
}

#[test]
fn a_program_that_is_told_by_a_signal_and_obeys_ends_as_if_by_itself() {
    for signal in ["INT", "TERM"] {
        let mut program = Program::start("obeys");
        program.says("ready");
        program.signal(signal);
        program.says("told");
        let (code, stdout, stderr) = program.ends();
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert_eq!(stdout, "closed: Completed\n");
    }
}

#[test]
fn a_program_that_does_not_obey_is_dropped_after_the_grace_and_drained() {
    let mut program = Program::start("deaf");
    program.says("ready");
    program.signal("TERM");
    let (code, stdout, stderr) = program.ends();
    assert_eq!((code, stderr.as_str()), (Some(124), ""));
    assert_eq!(stdout, "closed: Cancelled\n");
}

#[test]
fn a_program_that_is_dropped_ends_after_exits_that_take_a_while() {
    let mut program = Program::start("deaf, and slow");
    program.says("ready");
    program.signal("INT");
    let (code, stdout, stderr) = program.ends();
    assert_eq!((code, stderr.as_str()), (Some(124), ""));
    assert_eq!(stdout, "closed: Cancelled\n");
}

#[test]
fn exits_that_are_left_count_more_than_how_the_app_has_ended() {
    for how in [
        "leaves, and is stuck",
        "fails, and is stuck",
        "deaf, and stuck",
    ] {
        let mut program = Program::start(how);
        if how.starts_with("deaf") {
            program.says("ready");
            program.signal("TERM");
        }
        let (code, _, stderr) = program.ends();
        assert_eq!(code, Some(125), "{how}");
        let line = "1 left: ends::stuck: exiting for ";
        assert!(stderr.contains(line), "{how}: {stderr}");
        let told = stderr.contains("Error: \"no database\"");
        assert_eq!(told, how.starts_with("fails"), "{how}: {stderr}");
    }
}

#[test]
fn a_program_that_panics_and_does_not_drain_names_what_is_left_and_panics() {
    let (code, _, stderr) = Program::start("panics, and is stuck").ends();
    assert_eq!(code, Some(101));
    let line = "1 left: ends::stuck: exiting for ";
    assert!(
        stderr.contains("no good") && stderr.contains(line),
        "{stderr}"
    );
}

#[test]
fn a_program_that_does_not_drain_names_what_is_left() {
    let mut program = Program::start("stuck");
    program.says("ready");
    program.signal("TERM");
    let (code, _, stderr) = program.ends();
    assert_eq!(code, Some(125));
    let line = stderr.lines().next().unwrap_or_default();
    assert!(
        line.contains("1 left: ends::stuck: exiting for "),
        "{stderr}"
    );
}

#[test]
fn a_second_signal_ends_a_program_at_once() {
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let mut program = Program::start("hangs");
        program.says("ready");
        program.signal("TERM");
        program.says("told");
        program.signal(signal);
        assert_eq!(program.ends().0, Some(expected));
    }
}

#[test]
fn a_second_signal_ends_a_program_whatever_hangs() {
    for how in [
        "hangs, and its hook hangs",
        "hangs in the thread of the crate",
    ] {
        let mut program = Program::start(how);
        program.says("ready");
        program.signal("TERM");
        program.says("told");
        program.signal("INT");
        assert_eq!(program.ends().0, Some(130), "{how}");
    }
}

#[test]
fn a_second_signal_ends_a_program_that_drains_for_ever() {
    let mut program = Program::start("drains for ever");
    program.says("ready");
    program.signal("TERM");
    program.says("told");
    program.signal("INT");
    assert_eq!(program.ends().0, Some(130));
}

#[test]
fn the_first_signal_ends_a_program_whose_runtime_hangs_after_its_end() {
    let mut program = Program::start("outlasts its runtime");
    program.says("ended");
    program.signal("TERM");
    assert_eq!(program.ends().0, Some(143));
}

#[test]
fn a_second_signal_ends_a_program_that_blocks_its_only_thread() {
    let mut program = Program::start("blocks");
    program.says("ready");
    program.signal("TERM");
    program.says("told");
    program.signal("INT");
    assert_eq!(program.ends().0, Some(130));
}

#[test]
fn an_app_does_not_begin_on_a_runtime_without_a_timer() {
    let (tell, told) = mpsc::channel();
    let runtime = Builder::new_current_thread().build().expect("there is one");
    let run = || {
        let app = async { tell.send(()) };
        runtime.block_on(shutdown::run(app)).how()
    };
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert!(told.try_recv().is_err());
}
