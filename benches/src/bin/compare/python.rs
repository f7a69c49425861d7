//! Runs Python's ways between our own turns.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::rounds::Entry;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compare.py");

/// A python3 that runs `compare.py`.
pub(crate) struct Python {
    child: RefCell<Child>,
    questions: RefCell<Option<ChildStdin>>,
    answers: RefCell<BufReader<ChildStdout>>,
}

impl Python {
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new("python3")
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let answers = answers.ok_or_else(|| io::Error::other("python3 has no stdout"))?;
        Ok(Self {
            child: RefCell::new(child),
            questions: RefCell::new(questions),
            answers: RefCell::new(BufReader::new(answers)),
        })
    }

    /// Returns an entry for one of the ways that `compare.py` has.
    pub(crate) fn entry<'a>(&'a self, name: &str, way: &'a str) -> Entry<'a> {
        Entry::timed(name, |uses| self.run(way, uses))
    }

    /// Returns the nanoseconds of a use.
    ///
    /// # Panics
    ///
    /// If python3 does not answer. Its stderr says why.
    fn run(&self, way: &str, uses: u32) -> f64 {
        let mut answer = String::new();
        if let Some(questions) = &mut *self.questions.borrow_mut() {
            writeln!(questions, "{way} {uses}").expect("python3 reads");
        }
        let mut answers = self.answers.borrow_mut();
        answers.read_line(&mut answer).expect("python3 writes");
        answer.trim().parse().expect("python3 answers by a number")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // python3 ends at the end of its input.
        drop(self.questions.take());
        let _ = self.child.borrow_mut().wait();
    }
}
