//! What a context and the contexts around it must know about each other. A context has this state
//! if a poll of it has returned `Pending`, if it is a guard or a part that was entered, or if
//! others refer to it. A *home* of a context is a context that it is directly inside of.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::report::{self, Kind as Report};
use crate::roster::{Around, Record};

use super::age::{Alive, Number};
use super::entry::Entry;
use super::here::{self, At, Code, Polled};
use super::list::List;
use super::node::{self, Node};
use super::{Kind, Turn};

/// The state that the head of this file describes.
pub(super) struct Known {
    kind: Kind,
    /// Where the context was opened. `Some` once it may be given up.
    origin: Option<Origin>,
    /// `Some` once something is inside the context, or others must know about it.
    node: Option<Arc<Node>>,
    /// The runtime that the context was entered on. `Some` once it may be given up.
    runtime: Option<Handle>,
    /// `Some` once others may have to wait for the context, or once the context may have to wait
    /// for its neighbours.
    given_up: Option<GivenUp>,
    /// `false` for a stand-in, and under the exception of rule b.
    waits_for_what_is_inside: bool,
    is_detached: bool,
    /// `true` if a time limit gave up the context's enter.
    is_late: bool,
}

struct Origin {
    home: Option<Arc<Node>>,
    number: Number,
    /// `Some` for a guard.
    _alive: Option<Alive>,
}

/// What others know of a context that was given up, or whose exit is awaited. Rule c uses the list
/// of the code that gave the context up, and rule b uses what the homes of the context have noted.
///
/// | call | in the list | in the homes |
/// | --- | --- | --- |
/// | `end_body`, of a guard that has neighbours to wait for | an entry that waits, and that nobody waits for | |
/// | `begin_exit`, of an awaited exit that another thread may overtake | | noted |
/// | `begin_exit`, of an awaited guard | the entry is removed | |
/// | `waits_in_exit`, when an awaited exit has returned `Pending` | | noted |
/// | `detach` | the entry counts from now on; if there is none, it is added at the end | noted |
/// | the drop | the entry is removed, or replaced by what the exit has left behind | removed |
struct GivenUp {
    entry: Arc<Entry>,
    /// `true` if the homes of the context know that they must wait for it.
    is_noted: bool,
    /// `true` if the entry is in the list of the code that gave the context up.
    is_listed: bool,
}

impl Known {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            origin: None,
            node: None,
            runtime: None,
            given_up: None,
            // For a stand-in, the context that it belongs to waits for the contexts inside.
            waits_for_what_is_inside: kind != Kind::StandIn,
            is_detached: false,
            is_late: false,
        }
    }

    /// Makes the state of a context that has a node from its beginning.
    pub(super) fn of_node(kind: Kind, node: Arc<Node>) -> Self {
        let mut known = Self::new(kind);
        known.node = Some(node);
        known
    }

    pub(super) fn node_if_any(&self) -> Option<Arc<Node>> {
        self.node.clone()
    }

    pub(super) fn take_runtime(&mut self) -> Option<Handle> {
        self.runtime.take()
    }

    /// Returns `true` if there is nothing more to [note](Self::note).
    #[inline]
    pub(super) fn is_noted(&self) -> bool {
        self.runtime.is_some() && self.origin.is_some()
    }

    /// See [`Place::poll`](super::Place::poll).
    #[inline]
    pub(super) fn begin_poll(&self, part: Polled) -> here::Poll {
        let at = match (&self.node, &self.origin) {
            (Some(node), _) => At::Node(Arc::clone(node)),
            // The context may be closed elsewhere than where it was opened, so the contexts that
            // poll here do not tell where it is.
            (None, Some(origin))
                if self.kind != Kind::With
                    && (origin.home.is_some() || here::is_in_a_context()) =>
            {
                At::Origin(origin.home.clone(), origin.number)
            }
            (None, _) => return here::Poll::begin(self.polled(part)),
        };
        here::Poll::begin_at(self.polled(part), at)
    }

    /// Returns the part that is polled. A detached context is always polled as an exit, which is
    /// code of its own.
    fn polled(&self, part: Polled) -> Polled {
        if self.is_detached { Polled::Exit } else { part }
    }

    /// See [`Place::note`](super::Place::note).
    pub(super) fn note(&mut self) {
        if self.runtime.is_none() {
            self.runtime = Handle::try_current().ok();
        }
        if self.origin.is_none() {
            self.note_origin();
        }
    }

    fn note_origin(&mut self) {
        let home = match &self.node {
            Some(_) => None,
            None => here::home(),
        };
        // The number is taken after the call of `home`, because that call may number the home,
        // which must be older.
        let number = match self.kind {
            Kind::Guard => Number::of_a_guard(),
            Kind::With | Kind::Part | Kind::StandIn => Number::of_another(),
        };
        if let (Kind::Guard, Some(node)) = (self.kind, &self.node) {
            node.set_number(number);
        }
        self.origin = Some(Origin {
            home,
            number,
            _alive: (self.kind == Kind::Guard).then(Alive::new),
        });
    }

    /// See [`Place::adopt`](super::Place::adopt).
    pub(super) fn adopt(&mut self, node: Arc<Node>, record: Option<Arc<Record>>) {
        if self.node.is_none() {
            if let Some(origin) = &self.origin {
                node.settle(origin.home.clone(), origin.number);
            }
            if let Some(record) = record {
                node.set_name(record.name());
                record.set_around(node::homes_of(&node));
            }
            self.node = Some(node);
        }
    }

    /// Sets the name, which only the roster needs.
    pub(super) fn set_name(&self, name: &'static str) {
        if let Some(node) = &self.node {
            node.set_name(name);
        }
    }

    /// Returns the contexts around this one, for the roster.
    pub(super) fn around(&self) -> Option<Arc<dyn Around>> {
        self.node.as_ref().map(node::homes_of)
    }

    /// Returns the node, which is made first if it does not exist.
    pub(super) fn node(&mut self) -> &Arc<Node> {
        let origin = &self.origin;
        self.node.get_or_insert_with(|| match origin {
            Some(origin) => Node::new(origin.home.clone(), origin.number),
            None => Node::new(here::home(), Number::of_another()),
        })
    }

    pub(super) fn number(&self) -> Number {
        let origin = self.origin.as_ref();
        origin.map_or(Number::NONE, |origin| origin.number)
    }

    /// Records that the body of a guard has ended, and that its exit may have to wait for others.
    #[cold]
    pub(super) fn end_body(&mut self, name: &'static str) {
        if self.is_detached {
            return;
        }
        if let Some(node) = &self.node {
            self.waits_for_what_is_inside = !here::is_in_an_exit_inside_of(node);
        }
        if List::is_there() {
            self.close_beside_others(name);
        }
    }

    fn close_beside_others(&mut self, name: &'static str) {
        let close = |list: &Arc<List>| {
            if list.is_empty() || self.node().is_independent() {
                return None;
            }
            let entry = Entry::new(
                name,
                Arc::clone(self.node()),
                self.number(),
                Some(Arc::clone(list)),
            );
            list.add_awaited(&entry);
            if list.blocker(&entry).is_some() {
                Some(entry)
            } else {
                list.withdraw(&entry);
                None
            }
        };
        let entry = match here::code(false) {
            Code::Exit(exit) => exit.list(false).as_ref().and_then(close),
            Code::Outermost(code) => code.list_of_task(false).as_ref().and_then(close),
            Code::Task(root) => List::of_task(root, close).flatten(),
            Code::Unknown => None,
        };
        self.given_up = entry.map(|entry| GivenUp {
            entry,
            is_noted: false,
            is_listed: true,
        });
    }

    pub(super) fn be_late(&mut self) {
        self.is_late = true;
    }

    /// See [`Place::detach`](super::Place::detach).
    pub(super) fn detach(&mut self, name: &'static str, has_closed: bool) {
        self.note();
        self.is_detached = true;
        if self.node.is_none() && self.given_up.is_none() && !self.may_be_waited_for() {
            return;
        }
        if !has_closed {
            self.waits_for_what_is_inside = !here::is_in_an_exit_inside_of(self.node());
        }
        let node = Arc::clone(self.node());
        if node.is_independent() {
            self.given_up = None;
            return;
        }
        let number = self.number();
        let mut noted = None;
        match &mut self.given_up {
            Some(given_up) if given_up.is_listed => {
                if let Some(list) = &given_up.entry.list {
                    list.detach(&given_up.entry);
                }
            }
            given_up => {
                noted = given_up.take();
                let detach = |list: &Arc<List>| {
                    let entry = Entry::new(name, Arc::clone(&node), number, Some(Arc::clone(list)));
                    list.add_detached(&entry);
                    entry
                };
                let (entry, is_listed) = match here::code(true) {
                    Code::Exit(exit) => {
                        let entry = exit.list(true).as_ref().map(detach);
                        node.set_given_up_in(exit);
                        (entry, true)
                    }
                    Code::Outermost(code) => (code.list_of_task(true).as_ref().map(detach), true),
                    Code::Task(root) => (Some(List::at_task(root, detach)), true),
                    Code::Unknown => (None, false),
                };
                let entry =
                    entry.unwrap_or_else(|| Entry::new(name, Arc::clone(&node), number, None));
                *given_up = Some(GivenUp {
                    entry,
                    is_noted: false,
                    is_listed,
                });
            }
        }
        if let (true, Some(given_up)) = (self.is_late, &self.given_up) {
            given_up.entry.be_late();
        }
        self.note_in_homes();
        if let Some(noted) = noted {
            noted.end();
        }
    }

    /// Returns `true` if another context could wait for this one, by rule b or c.
    fn may_be_waited_for(&self) -> bool {
        let is_at_a_root = |origin: &Origin| origin.home.is_none();
        Alive::is_there()
            || here::is_in_an_exit()
            || !self.origin.as_ref().is_some_and(is_at_a_root)
    }

    /// See [`Place::waits_in_exit`](super::Place::waits_in_exit).
    pub(super) fn waits_in_exit(&mut self, name: &'static str) {
        self.note();
        let is_held_elsewhere = match self.kind {
            Kind::Guard => true,
            Kind::With | Kind::Part => self.node.is_some(),
            Kind::StandIn => false,
        };
        if is_held_elsewhere {
            self.note_awaited(name);
        }
    }

    /// Returns `true` if a context around is not polling in this thread.
    #[inline]
    fn is_elsewhere(&self) -> bool {
        if self.is_detached || self.kind == Kind::StandIn {
            return false;
        }
        let is_elsewhere = |home: &Arc<Node>| !here::is_polling(home);
        match (&self.node, &self.origin) {
            (Some(node), _) => node.is_inside_some(is_elsewhere),
            (None, Some(origin)) => origin.home.as_ref().is_some_and(is_elsewhere),
            (None, None) => false,
        }
    }

    #[cold]
    fn note_awaited(&mut self, name: &'static str) {
        if self
            .given_up
            .as_ref()
            .is_some_and(|given_up| given_up.is_noted)
        {
            return;
        }
        let is_at_a_root = |origin: &Origin| origin.home.is_none();
        if self.node.is_none() && self.origin.as_ref().is_none_or(is_at_a_root) {
            return;
        }
        let node = Arc::clone(self.node());
        let homes = node.where_it_is();
        if homes.is_empty() || self.kind != Kind::Guard && !homes.has_some_by_inside() {
            return;
        }
        let number = self.number();
        self.given_up.get_or_insert_with(|| GivenUp {
            entry: Entry::new(name, node, number, None),
            is_noted: false,
            is_listed: false,
        });
        self.note_in_homes();
    }

    fn note_in_homes(&mut self) {
        if let (Some(given_up), Some(node)) = (&mut self.given_up, &self.node) {
            if !given_up.is_noted {
                given_up.is_noted = true;
                for home in node.where_it_is().all() {
                    home.add(&given_up.entry);
                }
            }
        }
    }

    /// See [`Place::has_to_wait`](super::Place::has_to_wait).
    pub(super) fn has_to_wait(&self) -> bool {
        let node = self.node.as_ref().filter(|_| self.waits_for_what_is_inside);
        node.is_some_and(|node| node.first_inside().is_some())
            || self.given_up.is_some() && self.turn("").next().is_some()
    }

    /// See [`Place::turn_of_failed_enter`](super::Place::turn_of_failed_enter).
    pub(super) fn turn_of_failed_enter(&self, name: &'static str) -> Option<Turn> {
        let inside = Arc::clone(self.node.as_ref()?);
        inside.first_inside_in_time()?;
        Some(Turn {
            name,
            inside: Some(inside),
            beside: None,
            is_of_enter: true,
        })
    }

    /// See [`Place::turn`](super::Place::turn).
    pub(super) fn turn(&self, name: &'static str) -> Turn {
        let inside = self.node.clone().filter(|_| self.waits_for_what_is_inside);
        let beside = self.given_up.as_ref().filter(|given_up| given_up.is_listed);
        Turn {
            name,
            inside,
            beside: beside
                .filter(|_| self.kind == Kind::Guard)
                .map(|given_up| Arc::clone(&given_up.entry)),
            is_of_enter: false,
        }
    }

    /// See [`Place::begin_exit`](super::Place::begin_exit).
    pub(super) fn begin_exit(&mut self, name: &'static str) {
        // A context around may begin its exit in another thread, before this exit returns `Pending`
        // or ends.
        if self.is_elsewhere() {
            self.note_awaited(name);
        }
        if let Some(given_up) = &mut self.given_up {
            if given_up.is_listed && !self.is_detached {
                given_up.is_listed = false;
                if let Some(list) = &given_up.entry.list {
                    list.remove(&given_up.entry);
                }
            }
        }
    }
}

impl GivenUp {
    /// Ends all waits for this context.
    fn end(&self) {
        if self.is_noted {
            for home in self.entry.node.where_it_is().all() {
                home.remove(&self.entry);
            }
        }
        self.entry.be_over();
        self.entry.tell();
    }
}

impl Drop for Known {
    #[inline]
    fn drop(&mut self) {
        if self.kind == Kind::StandIn {
            return;
        }
        if let Some(mut node) = self.node.take() {
            if self.given_up.is_some() || !node.is_unknown() {
                self.end(node);
            }
        }
    }
}

impl Known {
    #[cold]
    fn end(&mut self, node: Arc<Node>) {
        for entry in node.end() {
            let_go(&entry);
        }
        let left = node.list(false).filter(|list| !list.is_empty());
        let given_up = self.given_up.take();
        if let Some(given_up) = &given_up {
            let list = given_up.entry.list.as_ref();
            if let Some(list) = list.filter(|_| given_up.is_listed) {
                list.end(&given_up.entry, left.as_ref().filter(|_| self.is_detached));
            }
            given_up.end();
        }
        if let Some(left) = left.filter(|_| !self.is_detached) {
            let add = |list: &Arc<List>| {
                let entry = Entry::new("", node, Number::NONE, Some(Arc::clone(list)));
                list.add_left(&entry, &left);
                entry
            };
            let entry = match here::code(true) {
                Code::Exit(exit) => exit.list(true).as_ref().map(add),
                Code::Outermost(code) => code.list_of_task(true).as_ref().map(add),
                Code::Task(root) => Some(List::at_task(root, add)),
                Code::Unknown => None,
            };
            if let Some(entry) = entry {
                if let Some(list) = &entry.list {
                    list.remove_if_empty(&entry, &left);
                }
            }
        }
    }
}

/// Ends all waits for the context (rule e).
fn let_go(entry: &Arc<Entry>) {
    if entry.be_over() {
        if let Some(list) = &entry.list {
            list.remove(entry);
        }
        entry.tell();
        report::plain(entry.name, Report::LetGo);
    }
}
