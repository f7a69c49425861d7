//! The order of exits: which exit waits for which other one.
//!
//! A context that is exited where it was entered needs no help: Rust's own nesting is the order. An
//! exit that runs *detached* does, because the code around it goes on, and comes to exits that have
//! to wait.
//!
//! ```text
//!  task ──┬── a.with ─── body ──┬── b.with ─── body      b is inside of a
//!         │                     └── c.with ─── body      c is inside of a, and b and c side by side
//!         └── guard g, then guard h                      g and h side by side, and h is the younger one
//! ```
//!
//! The rules. *Given up* means dropped, or being closed, or that the body is over. *Detached* means
//! that the exit runs in the background.
//!
//! - **a. Inside.** A context is inside of the one whose code opened it: its enter, its body, its
//!   exit. `inside(&guard)` puts it inside of the guard's context as well. When a context has
//!   ended, what is still held or running in it is inside of the context around.
//! - **b.** An exit begins when everything inside of its context that has been given up has ended.
//!   What is still held is not waited for. Exception: a context that is given up by the exit of
//!   something inside of it waits for nothing inside, because that exit may be waiting for it.
//! - **c. Side by side.** *Code* is the exit that is running, or else the task. Enters and bodies
//!   belong to the code that polls them. A guard's exit waits for each younger context that the
//!   same code gave up before it and that is detached. When an exit has ended that this code gave
//!   up or awaited, what it gave up and still runs counts in its place. Only those count that are
//!   inside of every context that the guard is inside of.
//! - **d.** X is *younger* than Y if X was opened later, and so was the context that holds X where
//!   Y is: seen from outside, what is inside of a context has the age of that context, also when
//!   that one has ended.
//! - **e. Let go.** Nobody waits for an independent context, nor for what it leaves, and it waits
//!   only for what is inside of it. Nobody waits for what was opened in an exit that its time limit
//!   has cut off.
//! - **f.** A stack is code that closes its entries from the last to the first, each when all is
//!   over that those above have given up. On executors other than tokio there are no tasks to tell
//!   apart: there rule c holds inside of contexts only.
//! - **g.** If the exit of A waits for B by code of the user's, and B waits for A by these rules,
//!   both wait for ever, as nested blocks would. A wait that lasts is reported, by name.
//!
//! There is no circle. By rule b a context waits for what is further inside, and by rule c for what
//! is younger and was given up before. Once begun, an exit waits only for what its own code awaits.
//!
//! How they are kept:
//!
//! - [`here`] tells which contexts are polling in this thread, and so what is inside of what (rule
//!   a).
//! - [`node`] is a context, with those inside of it which have been given up (rules a, b, e).
//! - [`list`] is what one piece of code has given up (rule c), and [`age`] is how old it is (rule
//!   d).
//! - A [`Place`] is what a context itself has of all that. A context that never waits has none of
//!   it.

mod age;
mod entry;
mod here;
mod list;
mod node;

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::Handle;

use crate::alarm::Alarm;
use crate::observe::{Traced, Watch};
use crate::report::{self, Kind as Report};
use crate::roster::{Activity, Around, Record};

use age::{Alive, Number};
use entry::Entry;
use here::{At, Code};
pub(crate) use here::{Polled, Root};
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
    /// Its enter was given up by a time limit.
    is_late: bool,
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
    /// None of its own: it polls a part of the code of another place.
    StandIn,
}

struct Origin {
    home: Option<Arc<Node>>,
    number: Number,
    /// Of a guard.
    _alive: Option<Alive>,
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
            is_late: false,
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

    /// What polls a part of the code of this place elsewhere, inside of the same context.
    pub(crate) fn stand_in(&mut self) -> Self {
        let mut place = Self::new(Kind::StandIn, self.watch.part().watch());
        place.node = Some(Arc::clone(self.node()));
        // This place waits for what is inside.
        place.waits_for_what_is_inside = false;
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
        let at = match (&self.node, &self.origin) {
            (Some(node), _) => Some(At::Node(Arc::clone(node))),
            // It may be closed elsewhere than where it was opened: what polls here does not tell.
            (None, Some(origin))
                if self.kind != Kind::With
                    && (origin.home.is_some() || here::is_in_a_context()) =>
            {
                Some(At::Origin(origin.home.clone(), origin.number))
            }
            (None, _) => None,
        };
        let part = if self.is_detached { Polled::Exit } else { part };
        Polling {
            poll: here::Poll::begin(part, at),
            _traced: self.watch.trace(),
            place: self,
        }
    }

    /// It may be given up from now on: notes what it is inside of, and the runtime, which its exit
    /// would go on in.
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

    /// Its enter has given a value.
    #[inline]
    pub(crate) fn entered(&mut self) {
        match self.kind {
            Kind::With | Kind::StandIn => {}
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
            if let Some(record) = self.watch.record() {
                node.set_name(record.name());
                record.set_around(node::homes_of(&node));
            }
            self.node = Some(node);
        }
    }

    /// Its turn to exit has not come, or has now: for the roster.
    #[cold]
    pub(crate) fn waits(&mut self, name: &'static str, has_to_wait: bool) {
        if let Some(node) = &self.node {
            node.set_name(name);
        }
        let other = IS_WAITING.try_with(Cell::get).ok().flatten();
        self.watch.waits_for(other.filter(|_| has_to_wait));
    }

    /// Its entry in the roster, while it goes on in the background.
    pub(crate) fn detached_record(&self, name: &'static str, activity: Activity) -> Arc<Record> {
        let around = self.node.as_ref().map(node::homes_of);
        let record = match self.watch.record() {
            Some(record) => {
                if let Some(around) = around {
                    record.set_around(around);
                }
                record
            }
            None => Record::new(name, activity, around),
        };
        if let Some(node) = &self.node {
            node.set_name(name);
        }
        record.detach();
        record
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
    pub(crate) fn end_body(&mut self, name: &'static str) {
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

    /// Its enter is over its time limit, and is going to be given up.
    pub(crate) fn be_late(&mut self) {
        self.is_late = true;
    }

    /// Its holder has gone: what is left of it runs in the background.
    pub(crate) fn detach(&mut self, name: &'static str, has_closed: bool) {
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

    /// Returns `true` if there is something that could wait for it, by rule b or c.
    fn may_be_waited_for(&self) -> bool {
        let is_at_a_root = |origin: &Origin| origin.home.is_none();
        Alive::is_there()
            || here::is_in_an_exit()
            || !self.origin.as_ref().is_some_and(is_at_a_root)
    }

    /// The exit waits, while it is awaited: what its context is inside of has to wait for it.
    /// (Whoever awaits a `with` does so in what that was opened in, but not in what it was put
    /// inside of.)
    #[inline]
    pub(crate) fn waits_in_exit(&mut self, name: &'static str) {
        self.note();
        let is_held_elsewhere = match self.kind {
            Kind::Guard => true,
            Kind::With | Kind::Part => self.node.is_some(),
            Kind::StandIn => false,
        };
        if is_held_elsewhere
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
        let homes = node.where_it_is().1;
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
                for home in node.where_it_is().1.all() {
                    home.add(&given_up.entry);
                }
            }
        }
    }

    /// Does its exit have to wait (rules b and c)?
    #[inline]
    pub(crate) fn has_to_wait(&self) -> bool {
        let node = self.node.as_ref().filter(|_| self.waits_for_what_is_inside);
        node.is_some_and(|node| node.first_inside().is_some())
            || self.given_up.is_some() && self.turn("").next().is_some()
    }

    /// The wait of an enter that has failed, for what it had opened and given up. There is none for
    /// what a time limit has given up, which would then not be one.
    pub(crate) fn turn_of_failed_enter(&self, name: &'static str) -> Option<Turn> {
        let inside = Arc::clone(self.node.as_ref()?);
        inside.first_inside_in_time()?;
        Some(Turn {
            name,
            inside: Some(inside),
            beside: None,
            is_of_enter: true,
        })
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
            is_of_enter: false,
        }
    }

    /// Its exit, which began then, is given up: rule e.
    pub(crate) fn cut_off(&mut self, begin: Begin) {
        self.node().cut(begin.0);
    }

    /// Its turn has come: its exit begins.
    pub(crate) fn begin_exit(&mut self) {
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

impl Place {
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
    is_of_enter: bool,
}

impl Turn {
    pub(crate) async fn come(self) {
        over(self.name, || self.next()).await;
    }

    /// One that it waits for.
    fn next(&self) -> Option<Arc<Entry>> {
        let first = |node: &Arc<Node>| {
            if self.is_of_enter {
                node.first_inside_in_time()
            } else {
                node.first_inside()
            }
        };
        let inside = self.inside.as_ref().and_then(first);
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
        let is_outdated = || !next().is_some_and(|now| Arc::ptr_eq(&now, &entry));
        let mut change = pin!(entry.change_unless(is_outdated));
        poll_fn(|cx| {
            if change.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if alarm.poll(cx).is_ready() {
                // Rule g.
                report::long_wait(name, entry.name);
            }
            let _ = IS_WAITING.try_with(|cell| cell.set(Some(entry.name)));
            Poll::Pending
        })
        .await;
    }
}

thread_local! {
    /// The context that the code waits for which is polled in this thread, if it has come to a wait
    /// for others.
    static IS_WAITING: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Polls some code, and tells for the exit of which context it waits, if it does.
pub(crate) fn poll_and_see<T>(poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, Option<&'static str>) {
    let _ = IS_WAITING.try_with(|cell| cell.set(None));
    let polled = poll();
    let is_waiting = IS_WAITING.try_with(Cell::get).ok().flatten();
    (polled, is_waiting)
}

/// What is around a context whose enter begins here and now: for the roster.
pub(crate) fn around() -> Option<Arc<dyn Around>> {
    Some(node::inside_of(here::home()?))
}

/// The task that polls here. `None` inside of a context, and outside of tokio.
pub(crate) fn root_outside_of_contexts() -> Option<Root> {
    if here::is_in_a_context() {
        return None;
    }
    Root::here()
}

/// A context, for others that are put inside of it.
#[derive(Clone)]
pub(crate) struct Home(Arc<Node>);

/// The context that is polling here is independent: rule e. `false` if it was put inside of
/// another.
pub(crate) fn make_independent() -> bool {
    here::home().is_none_or(|node| node.make_independent())
}

/// The context that is polling here is inside of that one as well: rule a. `false` if it is
/// independent.
pub(crate) fn put_inside_of(home: Home) -> bool {
    here::home().is_none_or(|node| node.put_inside_of(home.0))
}

/// The beginning of an exit that has a time limit.
#[derive(Clone, Copy)]
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
