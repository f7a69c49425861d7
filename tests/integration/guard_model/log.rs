//! The log of a run: a record of each context, with the numbers of the events.

use std::collections::BTreeMap;
use std::fmt;

use super::program::{Name, Random};

pub(super) type Id = usize;

/// The number of an event. Earlier events have lower numbers.
pub(super) type Time = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Guard,
    With,
    Stack,
    Entry,
}

/// The code that runs: a task, or code that a context polls. [`Log::node`] tells what code this
/// counts as, which can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Task(usize),
    Of(Id),
}

/// Code as rule c tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Task(usize),
    /// An enter in the background.
    Enter(Id),
    Exit(Id),
}

impl Node {
    pub(super) fn context(self) -> Option<Id> {
        match self {
            Self::Task(_) => None,
            Self::Enter(id) | Self::Exit(id) => Some(id),
        }
    }
}

/// The end of a body, noted before any call that ends it.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) at: Time,
    pub(super) node: Node,
    /// The outcome that exit should see. `None` for a context that a stack closes.
    pub(super) outcome: Option<String>,
}

/// The end of a body by the future beside it.
#[derive(Debug, Clone)]
pub(super) struct EndedBeside {
    pub(super) at: Time,
    /// The outcome that exit sees if this end came first.
    pub(super) outcome: String,
    /// `true` if this end came in the same poll as the end of enter.
    pub(super) is_at_once: bool,
}

/// The receiver of an end by the future beside a body that came before the body's own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heed {
    /// Exit sees that end.
    Exit,
    /// That end is reported, and exit sees the outcome that it would see otherwise.
    Report,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are facts, and no state"
)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) kind: Kind,
    /// The context whose code opened this one.
    pub(super) home: Option<Id>,
    /// The context that this one was declared inside of.
    pub(super) declared: Option<Id>,
    pub(super) independent: bool,
    pub(super) opened_by: Code,
    pub(super) opened: Option<Time>,
    pub(super) entered: Option<Time>,
    pub(super) enters_in_background: bool,
    pub(super) enter_failed: bool,
    /// `true` if a body notes its own end.
    pub(super) has_body: bool,
    pub(super) given: Option<Given>,
    /// The time when the future beside the body began. At `beside_gone`, it had ended or was
    /// dropped.
    pub(super) beside_begun: Option<Time>,
    pub(super) beside_begins: u32,
    pub(super) beside_gone: Option<Time>,
    pub(super) ended_beside: Option<EndedBeside>,
    /// `Some(true)` if a part of the body received the error of this end. `None` if a panic of the
    /// part may have hidden it.
    pub(super) is_told_of_end: Option<bool>,
    pub(super) heed: Heed,
    /// The time when the call that dropped the context returned.
    pub(super) detached: Option<Time>,
    /// The time when the first poll of an awaited exit returned.
    pub(super) polled: Option<Time>,
    pub(super) begun: Option<Time>,
    pub(super) begins: u32,
    pub(super) seen: String,
    pub(super) ended: Option<Time>,
    pub(super) ends: u32,
    pub(super) is_cut: bool,
    pub(super) over: Option<Time>,
    pub(super) stack: Option<Id>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.name)
    }
}

#[derive(Debug, Default)]
pub(super) struct Log {
    time: Time,
    pub(super) records: Vec<Record>,
    pub(super) lines: Vec<String>,
    /// The errors and panics that came up.
    pub(super) raised: Vec<String>,
    pub(super) returned: Vec<String>,
    /// Failures that belong to no law.
    pub(super) broken: Vec<String>,
    names: BTreeMap<String, u32>,
    pub(super) tasks: usize,
    pub(super) ops: u64,
}

impl Log {
    /// Adds an event, and returns its number.
    pub(super) fn note(&mut self, line: impl Into<String>) -> Time {
        self.time += 1;
        self.lines.push(line.into());
        self.time
    }

    pub(super) fn add(&mut self, name: Name, kind: Kind, home: Option<Id>, opened_by: Code) -> Id {
        self.records.push(Record {
            name,
            kind,
            home,
            declared: None,
            independent: false,
            opened_by,
            opened: None,
            entered: None,
            enters_in_background: false,
            enter_failed: false,
            has_body: false,
            given: None,
            beside_begun: None,
            beside_begins: 0,
            beside_gone: None,
            ended_beside: None,
            is_told_of_end: Some(false),
            heed: Heed::Report,
            detached: None,
            polled: None,
            begun: None,
            begins: 0,
            seen: String::new(),
            ended: None,
            ends: 0,
            is_cut: false,
            over: None,
            stack: None,
        });
        self.records.len() - 1
    }

    /// Returns a name for an error that no other error has.
    pub(super) fn raise(&mut self, what: &str) -> String {
        let times = self.names.entry(what.to_owned()).or_default();
        *times += 1;
        let name = if *times == 1 {
            what.to_owned()
        } else {
            format!("{what} ({times})")
        };
        self.note(format!("raised: {name}"));
        self.raised.push(name.clone());
        name
    }

    /// Returns the code that this code counts as. The code of a context is its exit once the exit
    /// has begun. Its enter belongs to the code around, unless the enter goes on in the background.
    pub(super) fn node(&self, code: Code) -> Node {
        match code {
            Code::Task(task) => Node::Task(task),
            Code::Of(id) => {
                let record = &self.records[id];
                if record.begun.is_some() {
                    Node::Exit(id)
                } else if record.enters_in_background {
                    Node::Enter(id)
                } else {
                    self.node(record.opened_by)
                }
            }
        }
    }

    pub(super) fn opened(&mut self, id: Id) {
        let at = self.note(format!("v{} opens", self.records[id].name));
        self.records[id].opened = Some(at);
    }

    pub(super) fn entered(&mut self, id: Id) {
        let at = self.note(format!("v{} is entered", self.records[id].name));
        self.records[id].entered = Some(at);
    }

    pub(super) fn enter_failed(&mut self, id: Id) {
        let at = self.note(format!("v{} fails to enter", self.records[id].name));
        let node = self.node(self.records[id].opened_by);
        let record = &mut self.records[id];
        record.enter_failed = true;
        record.ended = Some(at);
        record.given.get_or_insert(Given {
            at,
            node,
            outcome: None,
        });
    }

    pub(super) fn given(&mut self, id: Id, code: Code, outcome: Option<String>) {
        let node = self.node(code);
        let how = outcome.as_deref().unwrap_or("by its stack");
        let at = self.note(format!("v{} is given up: {how}", self.records[id].name));
        if self.records[id].given.is_some() {
            self.broken.push(format!(
                "model: v{} is given up twice",
                self.records[id].name
            ));
        }
        self.records[id].given = Some(Given { at, node, outcome });
    }

    pub(super) fn begins_beside(&mut self, id: Id) {
        let at = self.note(format!(
            "v{} goes on beside its body",
            self.records[id].name
        ));
        let record = &mut self.records[id];
        record.beside_begun = Some(at);
        record.beside_begins += 1;
    }

    pub(super) fn ends_beside(&mut self, id: Id, outcome: String, is_at_once: bool) {
        let name = self.records[id].name;
        let at = self.note(format!("v{name} ends its body: {outcome}"));
        self.records[id].ended_beside = Some(EndedBeside {
            at,
            outcome,
            is_at_once,
        });
    }

    pub(super) fn part_ended(&mut self, id: Id, outcome: &str) {
        let name = self.records[id].name;
        self.note(format!("a part of v{name} gives {outcome}"));
        let record = &mut self.records[id];
        let is_told = record.is_told_of_end == Some(true);
        if let Some(end) = record.ended_beside.as_ref().filter(|_| !is_told) {
            if end.outcome == outcome {
                record.is_told_of_end = Some(true);
            } else if outcome.starts_with("panicked") {
                record.is_told_of_end = None;
            }
        }
    }

    pub(super) fn gone_beside(&mut self, id: Id) {
        let at = self.note(format!("v{} has nothing beside", self.records[id].name));
        self.records[id].beside_gone = Some(at);
    }

    pub(super) fn detached(&mut self, id: Id) {
        if self.records[id].ended.is_none() && self.records[id].detached.is_none() {
            let at = self.note(format!("v{} is left alone", self.records[id].name));
            self.records[id].detached = Some(at);
        }
    }

    pub(super) fn begins(&mut self, id: Id, seen: String) {
        if let (None, Some(stack)) = (&self.records[id].given, self.records[id].stack) {
            let node = Node::Exit(stack);
            let at = self.note(format!("v{} is next in its stack", self.records[id].name));
            self.records[id].given = Some(Given {
                at,
                node,
                outcome: None,
            });
        }
        let at = self.note(format!("v{} exits: {seen}", self.records[id].name));
        let record = &mut self.records[id];
        record.begun = Some(at);
        record.begins += 1;
        record.seen = seen;
    }

    pub(super) fn ends(&mut self, id: Id, is_cut: bool) {
        let how = if is_cut { "is cut off" } else { "has exited" };
        let at = self.note(format!("v{} {how}", self.records[id].name));
        let record = &mut self.records[id];
        record.ended = Some(at);
        record.ends += 1;
        record.is_cut = is_cut;
    }
}

/// The rest of the state of a run.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: Log,
    pub(super) random: Random,
}
