//! Records what happens, line by line, and checks the laws of nesting.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::{Fact, pause};

/// The error type of the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub &'static str);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Fault {}

/// The value that [`Ledger::unless_over`] returns.
#[derive(Debug)]
pub struct Unless(Ledger, Option<Fact>);

impl Unless {
    /// Discards the fact, because the part has ended by itself.
    pub fn is_over(mut self) {
        self.1 = None;
    }
}

impl Drop for Unless {
    fn drop(&mut self) {
        if let Some(fact) = self.1.take() {
            self.0.record(fact);
        }
    }
}

/// The lines that contexts and bodies write, and the same events as facts for the laws. Clones
/// write into the same ledger.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    lines: Arc<Mutex<Vec<String>>>,
    facts: Arc<Mutex<Vec<Fact>>>,
}

impl Ledger {
    /// Adds a line.
    pub fn note(&self, line: impl Into<String>) {
        self.lines
            .lock()
            .expect("no test panics in here")
            .push(line.into());
    }

    /// Adds a fact.
    pub fn record(&self, fact: Fact) {
        self.facts
            .lock()
            .expect("no test panics in here")
            .push(fact);
    }

    /// Returns all facts so far.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        self.facts.lock().expect("no test panics in here").clone()
    }

    /// Returns a value that records the fact when it drops, unless [`is_over`](Unless::is_over) is
    /// called.
    #[must_use]
    pub fn unless_over(&self, fact: Fact) -> Unless {
        Unless(self.clone(), Some(fact))
    }

    /// Returns all lines so far, joined by commas.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().join(", ")
    }

    /// Returns all lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no test panics in here").clone()
    }

    /// Returns `true` if the line was written.
    #[must_use]
    pub fn has(&self, line: &str) -> bool {
        self.lines().iter().any(|known| known == line)
    }

    /// Waits until the line is written.
    pub async fn until(&self, line: &str) {
        while !self.has(line) {
            pause(1).await;
        }
    }

    /// Returns the number of lines with this beginning.
    #[must_use]
    pub fn count(&self, start: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// Returns a value that writes a line when it drops.
    #[must_use]
    pub fn on_drop(&self, line: &'static str) -> impl Drop + Send + use<> {
        struct OnDrop(Ledger, &'static str);

        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.note(self.1);
            }
        }

        OnDrop(self.clone(), line)
    }

    /// Checks the laws of nested contexts, which hold however they end: each context that was
    /// entered is exited once, an exit begins when all contexts that were entered later have been
    /// exited, and no context is left.
    pub fn check_nesting(&self) {
        let mut open: Vec<&str> = Vec::new();
        let mut exiting: Vec<&str> = Vec::new();
        let lines = self.lines();
        for line in &lines {
            if let Some(name) = line.strip_prefix("entered ") {
                assert!(!open.contains(&name), "{name} was entered twice: {lines:?}");
                open.push(name);
            } else if let Some(rest) = line.strip_prefix("exit ") {
                let name = rest.split(':').next().unwrap_or(rest);
                assert_eq!(
                    exiting, [""; 0],
                    "{name} exits during another exit: {lines:?}"
                );
                assert_eq!(
                    open.last(),
                    Some(&name),
                    "{name} is not the last: {lines:?}"
                );
                exiting.push(name);
            } else if let Some(name) = line.strip_prefix("exited ") {
                assert_eq!(exiting.pop(), Some(name), "{lines:?}");
                assert_eq!(open.pop(), Some(name), "{lines:?}");
            }
        }
        assert_eq!(open, [""; 0], "left open: {lines:?}");
    }
}
