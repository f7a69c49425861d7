//! The order of exits: which exit waits for which other one.
//!
//! A context that is exited where it was entered needs no help: Rust's own nesting is the order. An
//! exit that runs *detached* needs help, because the code around it goes on, and comes to exits
//! that have to wait for it.
//!
//! ```text
//!  task ──┬── a.with ─── body ──┬── b.with ─── body      b is inside of a
//!         │                     └── c.with ─── body      c is inside of a, and b and c side by side
//!         └── guard g, then guard h                      g and h side by side, and h is the younger one
//! ```
//!
//! The rules:
//!
//! - **a. Inside.** A context is inside of the context whose code has opened it: the enter, the
//!   body, or the exit. `inside(&guard)` puts a context inside of the guard's context as well. When
//!   a context has ended, everything that is still held or running in it is inside of the context
//!   around it.
//! - **b.** An exit begins when everything inside of its context that has been given up has ended.
//!   An exit that is awaited elsewhere counts from its first wait on. The exit does not wait for
//!   what is still held. A context that is given up in the exit of something inside of it waits for
//!   nothing inside, because it would wait for itself.
//! - **c. Side by side.** *Code* is the exit that is running, or else the task. Enters and bodies
//!   belong to the code that polls them. The exit of a guard waits for each younger context that
//!   the same code gave up before the guard and that runs detached. It also waits for each younger
//!   context that the exits of these have left. It waits only for contexts that are inside of
//!   everything that the guard's own context is inside of.
//! - **d.** *Younger* means opened later. Seen from outside, what was opened in an exit has the age
//!   of the exit's context, and so has what was opened inside of a context that has ended.
//! - **e. Let go.** No exit waits for an independent context, nor for what was opened in an exit
//!   that its time limit has cut off.
//! - **f.** A stack is code that closes its entries from the last to the first. The exit of each
//!   entry begins when everything is over that the entries above it have given up. Outside of tokio
//!   there are no tasks to tell apart: there, rule c holds inside of contexts only.
//! - **g.** If the user's code makes an exit wait for a context that waits for this exit by these
//!   rules, both wait for ever, as they would in nested blocks. A wait that lasts is reported, with
//!   the names of both contexts.
//!
//! Waits by these rules alone cannot form a circle. By rule b a context waits for what is further
//! inside. By rule c it waits for what is younger and was given up before. An exit that has begun
//! no longer waits by any rule.
//!
//! How the rules are kept:
//!
//! - [`here`] tells which contexts are polling in this thread, and so what is inside of what (rule a).
//! - [`node`] is a context, with the contexts inside of it that have been given up (rules a, b, e).
//! - [`entry`] is a context that has been given up, until it has ended.
//! - [`list`] is what one piece of code has given up (rule c), and [`age`] is how old a context is
//!   (rule d).
//! - A [`Place`] is the part of all this that a context itself holds. A context that never waits
//!   needs none of it.

mod age;
mod entry;
mod here;
mod list;
mod node;

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::Handle;

use crate::alarm::Alarm;
use crate::observe::{Traced, Watch};
use crate::report::{self, Kind as Report};

use age::Number;
use entry::Entry;
use here::Code;
pub(crate) use here::Polled;
use list::List;
use node::Node;

/// The place of one context among the others.
pub(crate) struct Place {
    kind: Kind,
    watch: Watch,
    /// Once it may be given up: where it was opened.
    origin: Option<Origin>,
    /// Once something is inside of it, or others have to know of it.
    node: Option<Arc<Node>>,
    /// The runtime that it was entered on, likewise.
    runtime: Option<Handle>,
    /// Once others may have to wait for it, or it for others beside it.
    given_up: Option<GivenUp>,
    /// Rule b, and its exception.
    waits_for_what_is_inside: bool,
    is_detached: bool,
}

/// How a context is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By code that polls it with its body.
    With,
    /// Between polls as well; its order among others is its holder's affair.
    Part,
    /// Between polls as well, and beside others: rule c.
    Guard,
}

struct Origin {
    home: Option<Arc<Node>>,
    number: Number,
}

struct GivenUp {
    entry: Arc<Entry>,
    /// Its homes wait for it.
    is_noted: bool,
    /// It is in the list of its code.
    is_listed: bool,
}

impl Place {
    /// The place of a context whose enter begins now.
    #[inline]
    pub(crate) fn new(kind: Kind, watch: Watch) -> Self {
        Self {
            kind,
            watch,
            origin: None,
            node: None,
            runtime: None,
            given_up: None,
            waits_for_what_is_inside: true,
            is_detached: false,
        }
    }

    /// A place in which tasks run, inside of the context that this code is in.
    pub(crate) fn room() -> Self {
        let mut place = Self::new(Kind::Part, Watch::default());
        place.node = Some(Node::new(here::home(), Number::of_another()));
        place
    }

    /// A place inside of a room, for a task.
    pub(crate) fn inside_of(room: &Self) -> Self {
        let mut place = Self::new(Kind::Part, Watch::default());
        place.node = Some(Node::new(room.node.clone(), Number::of_another()));
        place
    }

    pub(crate) fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    pub(crate) fn take_runtime(&mut self) -> Option<Handle> {
        self.runtime.take()
    }

    /// Until the value drops, what is opened in this thread is opened inside of this context.
    #[inline]
    pub(crate) fn poll(&mut self, part: Polled) -> Polling<'_> {
        let part = if self.is_detached { Polled::Exit } else { part };
        Polling {
            poll: here::Poll::begin(part, self.node.as_ref()),
            _traced: self.watch.trace(),
            place: self,
        }
    }

    /// It may be given up from now on: notes what it is inside of, and the runtime, which its exit would
    /// go on in.
    #[inline]
    pub(crate) fn note(&mut self) {
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
        // After its home, which is older, also if it gets its age now.
        let number = match self.kind {
            Kind::Guard => Number::of_a_guard(),
            Kind::With | Kind::Part => Number::of_another(),
        };
        if let (Kind::Guard, Some(node)) = (self.kind, &self.node) {
            node.set_number(number);
        }
        self.origin = Some(Origin { home, number });
    }

    /// Its enter has given a value.
    #[inline]
    pub(crate) fn entered(&mut self) {
        match self.kind {
            Kind::With => {}
            Kind::Part | Kind::Guard => self.note(),
        }
    }

    /// Somebody inside of it has asked for its node while it was polled.
    #[cold]
    fn adopt(&mut self, node: Arc<Node>) {
        if self.node.is_none() {
            if let Some(origin) = &self.origin {
                node.settle(origin.home.clone(), origin.number);
            }
            self.node = Some(node);
        }
    }

    /// For others that refer to it.
    fn node(&mut self) -> &Arc<Node> {
        let origin = &self.origin;
        self.node.get_or_insert_with(|| match origin {
            Some(origin) => Node::new(origin.home.clone(), origin.number),
            None => Node::new(here::home(), Number::of_another()),
        })
    }

    fn number(&self) -> Number {
        let origin = self.origin.as_ref();
        origin.map_or(Number::NONE, |origin| origin.number)
    }

    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        self.number() < other.number()
    }

    /// For [`put_inside_of`].
    pub(crate) fn home_for_others(&mut self) -> Home {
        Home(Arc::clone(self.node()))
    }

    /// The body has ended, and exit is going to be awaited.
    #[inline]
    pub(crate) fn close(&mut self, name: &'static str) {
        if self.kind != Kind::Guard || self.is_detached || !here::may_have_to_wait() {
            return;
        }
        self.close_beside_others(name);
    }

    #[cold]
    fn close_beside_others(&mut self, name: &'static str) {
        if let Some(node) = &self.node {
            self.waits_for_what_is_inside = !here::is_in_an_exit_inside_of(node);
        }
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
            Code::Exit(code) | Code::Outermost(code) => code.list(false).as_ref().and_then(close),
            Code::Task(root) => List::of_task(root, close).flatten(),
            Code::Unknown => None,
        };
        self.given_up = entry.map(|entry| GivenUp {
            entry,
            is_noted: false,
            is_listed: true,
        });
    }

    /// Its holder has gone: what is left of it runs in the background.
    pub(crate) fn detach(&mut self, name: &'static str, has_closed: bool) {
        self.note();
        self.is_detached = true;
        let node = Arc::clone(self.node());
        if !has_closed {
            self.waits_for_what_is_inside = !here::is_in_an_exit_inside_of(&node);
        }
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
                    Code::Outermost(code) => (code.list(true).as_ref().map(detach), true),
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
        self.note_in_homes();
        if let Some(noted) = noted {
            noted.end();
        }
    }

    /// The exit of a guard waits, while it is awaited: what it is inside of has to wait for it. (Whoever
    /// drives a `with` drives it as a part of what that is inside of.)
    #[inline]
    pub(crate) fn waits_in_exit(&mut self, name: &'static str) {
        self.note();
        if self.kind == Kind::Guard
            && self
                .given_up
                .as_ref()
                .is_none_or(|given_up| !given_up.is_noted)
        {
            self.note_awaited(name);
        }
    }

    #[cold]
    fn note_awaited(&mut self, name: &'static str) {
        let is_at_a_root = |origin: &Origin| origin.home.is_none();
        if self.node.is_none() && self.origin.as_ref().is_none_or(is_at_a_root) {
            return;
        }
        let node = Arc::clone(self.node());
        if node.where_it_is().1.is_empty() {
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
        if let (Some(given_up), Some(node)) = (&mut self.given_up, &self.node)
            && !given_up.is_noted
        {
            given_up.is_noted = true;
            for home in node.where_it_is().1.all() {
                home.add(&given_up.entry);
            }
        }
    }

    /// Returns `true` if its exit has to wait (rules b and c).
    #[inline]
    pub(crate) fn has_to_wait(&self) -> bool {
        let node = self.node.as_ref().filter(|_| self.waits_for_what_is_inside);
        node.is_some_and(|node| node.first_inside().is_some())
            || self.given_up.is_some() && self.turn("").next().is_some()
    }

    /// The wait for those that its exit has to wait for.
    pub(crate) fn turn(&self, name: &'static str) -> Turn {
        let inside = self.node.clone().filter(|_| self.waits_for_what_is_inside);
        let beside = self.given_up.as_ref().filter(|given_up| given_up.is_listed);
        Turn {
            name,
            inside,
            beside: beside
                .filter(|_| self.kind == Kind::Guard)
                .map(|given_up| Arc::clone(&given_up.entry)),
        }
    }

    /// Its turn has come: its exit begins.
    pub(crate) fn begin_exit(&mut self) {
        if let Some(given_up) = &mut self.given_up
            && given_up.is_listed
            && !self.is_detached
        {
            given_up.is_listed = false;
            if let Some(list) = &given_up.entry.list {
                list.remove(&given_up.entry);
            }
        }
    }
}

impl GivenUp {
    /// Nobody waits for this any more.
    fn end(&self) {
        if self.is_noted {
            for home in self.entry.node.where_it_is().1.all() {
                home.remove(&self.entry);
            }
        }
        self.entry.be_over();
        self.entry.tell();
    }
}

impl Drop for Place {
    /// The context has ended.
    #[inline]
    fn drop(&mut self) {
        if let Some(mut node) = self.node.take()
            && (self.given_up.is_some() || !node.is_unknown())
        {
            self.end(node);
        }
    }
}

impl Place {
    #[cold]
    fn end(&mut self, node: Arc<Node>) {
        for entry in node.end() {
            let_go(&entry);
        }
        let left = node.list(false).filter(|list| !list.is_empty());
        let given_up = self.given_up.take();
        if let Some(given_up) = &given_up {
            if given_up.is_listed
                && let Some(list) = &given_up.entry.list
            {
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
                Code::Exit(code) | Code::Outermost(code) => code.list(true).as_ref().map(add),
                Code::Task(root) => Some(List::at_task(root, add)),
                Code::Unknown => None,
            };
            if let Some(entry) = entry
                && let Some(list) = &entry.list
            {
                list.remove_if_empty(&entry, &left);
            }
        }
    }
}

/// Nobody waits for it any more: rule e.
fn let_go(entry: &Arc<Entry>) {
    if entry.be_over() {
        if let Some(list) = &entry.list {
            list.remove(entry);
        }
        entry.tell();
        report::plain(entry.name, Report::LetGo);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// See [`Place::poll`].
pub(crate) struct Polling<'a> {
    place: &'a mut Place,
    poll: here::Poll,
    _traced: Traced,
}

impl Drop for Polling<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(node) = self.poll.end() {
            self.place.adopt(node);
        }
    }
}

/// The wait of an exit for its turn: rules b and c.
pub(crate) struct Turn {
    name: &'static str,
    inside: Option<Arc<Node>>,
    beside: Option<Arc<Entry>>,
}

impl Turn {
    pub(crate) async fn come(self) {
        over(self.name, || self.next()).await;
    }

    /// One that it waits for.
    fn next(&self) -> Option<Arc<Entry>> {
        let inside = self.inside.as_ref().and_then(|node| node.first_inside());
        inside.or_else(|| {
            let entry = self.beside.as_ref()?;
            entry.list.as_ref()?.blocker(entry)
        })
    }
}

/// Waits until all is over that the exit which is running has given up: rule f.
pub(crate) async fn what_this_exit_has_given_up(name: &'static str) {
    let next = || match here::code(false) {
        Code::Exit(exit) => exit.list(false)?.any(),
        Code::Outermost(_) | Code::Task(_) | Code::Unknown => None,
    };
    over(name, next).await;
}

/// Waits for one after the other, until there is none.
async fn over(name: &'static str, next: impl Fn() -> Option<Arc<Entry>>) {
    let mut alarm = None;
    while let Some(entry) = next() {
        let alarm = alarm.get_or_insert_with(Alarm::new);
        let is_new = || !next().is_some_and(|now| Arc::ptr_eq(&now, &entry));
        let mut change = pin!(entry.changed_unless(is_new));
        poll_fn(|cx| {
            if change.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if alarm.poll(cx).is_ready() {
                // Rule g.
                report::long_wait(name, entry.name);
            }
            Poll::Pending
        })
        .await;
    }
}

/// A context, for others that are put inside of it.
#[derive(Clone)]
pub(crate) struct Home(Arc<Node>);

/// The context that is polling here is independent: rule e. `false` if it was put inside of another.
pub(crate) fn make_independent() -> bool {
    here::home().is_none_or(|node| node.make_independent())
}

/// The context that is polling here is inside of that one as well: rule a. `false` if it is independent.
pub(crate) fn put_inside_of(home: Home) -> bool {
    here::home().is_none_or(|node| node.put_inside_of(home.0))
}

/// The beginning of an exit that has a time limit.
pub(crate) struct Begin(Number);

impl Begin {
    pub(crate) fn now() -> Self {
        Self(Number::of_a_guard())
    }

    /// The exit, which is polling here, has been cut off: rule e.
    pub(crate) fn cut_off(self) {
        if let Some(node) = here::home() {
            node.cut(self.0);
        }
    }
}
