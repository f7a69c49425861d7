//! The order of exits: which exit waits for which.
//!
//! A context that is exited where it was entered needs no help, because Rust's own nesting is the
//! order. An exit that runs *detached* needs help: the code around it goes on, and reaches exits
//! that must wait.
//!
//! ```text
//!  task ──┬── a.with ─── body ──┬── b.with ─── body      b is inside a
//!         │                     └── c.with ─── body      c is inside a, and b and c are side by side
//!         └── guard g, then guard h                      g and h are side by side, and h is younger
//! ```
//!
//! The rules follow. A context is *given up* once it is dropped, its close has been called, or its
//! body is over. *Detached* means that the exit runs in the background. If exit A waits for exit B,
//! A *begins* when B has *ended*. An exit looks again after each wait whether there is more to wait
//! for.
//!
//! - **a. Inside.** A context is inside the context whose code opened it, in its enter, its body or
//!   its exit. `inside(&guard)` puts it inside the guard's context as well. When a context has
//!   ended, the contexts that are still held or running inside it are inside the context around it.
//! - **b.** An exit begins when all contexts inside its context that have been given up have ended.
//!   It does not wait for contexts that are still held. Exception: if an exit inside a context C
//!   gives C up, the exit of C waits for nothing inside C, because the inner exit may be waiting
//!   for the exit of C.
//! - **c. Side by side.** *Code* means the innermost exit that is running, or the task if no exit
//!   is running. Enters and bodies belong to the code that polls them. A guard's exit waits for
//!   each younger context that the same code gave up before the guard and that runs detached. If
//!   the exit of such a context has given up further contexts, the guard then waits for these. If
//!   this code has awaited an exit before, and that exit has left contexts behind, the guard waits
//!   for these as well, if they are younger. A context counts only if every context around the
//!   guard is also around that context.
//! - **d.** To compare X with Y, take the outermost context that contains X but not Y, or X itself
//!   if there is none. X is *younger* if that context was opened later than Y. So, seen from
//!   outside a context, everything inside it has the age of that context, even after that context
//!   has ended. `inside(&guard)` can give X several outer contexts. Then X is younger if one of
//!   them makes it younger.
//! - **e. Let go.** Nobody waits for an independent context, nor for the contexts that it leaves
//!   behind. An independent context itself waits only for the contexts inside it. If a time limit
//!   or an operator cuts an exit off, nobody waits for the contexts that this exit had opened.
//! - **f.** A stack is code that closes its entries from the last to the first. It closes an entry
//!   when everything that the entries above have given up has ended.
//! - **g.** If the exit of A waits for B by code of the user, and B waits for A by these rules,
//!   both wait for ever, as nested blocks would. A long wait is reported, by name.
//!
//! Outside tokio, the crate cannot tell tasks apart. There, rule c holds only inside contexts.
//!
//! The waits of these rules alone cannot form a cycle. Rule b only waits further inwards, and rule
//! c only waits for younger contexts that were given up before. Once begun, an exit waits only for
//! what its own code awaits.
//!
//! The state is kept in these modules:
//!
//! - [`here`] knows which contexts are polling in this thread, and so what is inside what (rule a).
//! - [`node`] is a context, with the contexts inside it that have been given up (rules a, b, e).
//! - [`list`] is what one piece of code has given up (rule c), and [`age`] is how old a context is
//!   (rule d).
//! - A [`Place`] is a context's own part of this state. Most of it is in [`known`], and exists once
//!   a poll of the context has returned `Pending`. A guard has it once its enter has ended. A
//!   `with` that never returns `Pending` usually has no state.

mod age;
mod entry;
mod here;
mod known;
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
use crate::report;
use crate::roster::{Activity, Around, Record};

use age::Number;
use entry::Entry;
use here::Code;
pub(crate) use here::{Polled, Root};
use known::Known;
use list::List;
use node::Node;

/// The place of one context among the others.
pub(crate) struct Place {
    kind: Kind,
    watch: Watch,
    /// `Some` once the context has waited, or others must know about it.
    known: Option<Known>,
}

/// How a context is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The code that holds the context polls it together with its body.
    With,
    /// While the body runs, a holder has the context, and itself keeps the order among its parts.
    Part,
    /// While the body runs, a holder has the context, side by side with others (rule c).
    Guard,
    /// The place of a coroutine that a driver polls. The context's own place is with a second
    /// coroutine, which the holder has: see `driven.rs`.
    StandIn,
}

impl Place {
    /// Makes the place of a context whose enter begins now.
    #[inline]
    pub(crate) fn new(kind: Kind, watch: Watch) -> Self {
        Self {
            kind,
            watch,
            known: None,
        }
    }

    /// Makes a place in which tasks run, inside the context that this code is in.
    pub(crate) fn room() -> Self {
        Self::of_node(Kind::Part, Node::new(here::home(), Number::of_another()))
    }

    /// Makes a place for a task, inside a room.
    pub(crate) fn inside_of(room: &Self) -> Self {
        let room = room.known.as_ref().and_then(Known::node_if_any);
        Self::of_node(Kind::Part, Node::new(room, Number::of_another()))
    }

    /// Makes a place for code of this context that is polled elsewhere. What that code opens is
    /// inside this context.
    pub(crate) fn stand_in(&mut self) -> Self {
        let mut place = Self::of_node(Kind::StandIn, Arc::clone(self.known().node()));
        place.watch = self.watch.part().watch();
        place
    }

    fn of_node(kind: Kind, node: Arc<Node>) -> Self {
        Self {
            kind,
            watch: Watch::default(),
            known: Some(Known::of_node(kind, node)),
        }
    }

    fn known(&mut self) -> &mut Known {
        let kind = self.kind;
        self.known.get_or_insert_with(|| Known::new(kind))
    }

    pub(crate) fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    pub(crate) fn take_runtime(&mut self) -> Option<Handle> {
        self.known.as_mut()?.take_runtime()
    }

    /// Begins a poll. Until the result drops, all contexts that this thread opens are inside this
    /// context.
    #[inline]
    pub(crate) fn poll(&mut self, part: Polled) -> Polling<'_> {
        let poll = match &self.known {
            None => here::Poll::begin(part),
            Some(known) => known.begin_poll(part),
        };
        Polling {
            poll,
            _traced: self.watch.trace(),
            place: self,
        }
    }

    /// Notes where the context is, and the runtime on which its exit would go on, because the
    /// context may be given up from now on.
    #[inline]
    pub(crate) fn note(&mut self) {
        if !self.known.as_ref().is_some_and(Known::is_noted) {
            self.known().note();
        }
    }

    #[inline]
    pub(crate) fn entered(&mut self) {
        match self.kind {
            Kind::With | Kind::StandIn => {}
            Kind::Part | Kind::Guard => self.note(),
        }
    }

    /// Adopts the node that code inside the context asked for during a poll.
    #[cold]
    fn adopt(&mut self, node: Arc<Node>) {
        let record = self.watch.record();
        self.known().adopt(node, record);
    }

    /// Tells the roster whether the exit waits for its turn.
    #[cold]
    pub(crate) fn waits(&mut self, name: &'static str, has_to_wait: bool) {
        self.known().set_name(name);
        let other = IS_WAITING.try_with(Cell::get).ok().flatten();
        self.watch.waits_for(other.filter(|_| has_to_wait));
    }

    /// Returns the roster's record of a context that goes on in the background.
    pub(crate) fn detached_record(
        &mut self,
        name: &'static str,
        activity: Activity,
    ) -> Arc<Record> {
        let around = self.known().around();
        let record = match self.watch.record() {
            Some(record) => {
                if let Some(around) = around {
                    record.set_around(around);
                }
                record
            }
            None => Record::new(name, activity, around),
        };
        self.known().set_name(name);
        record.detach();
        record
    }

    fn number(&self) -> Number {
        self.known.as_ref().map_or(Number::NONE, Known::number)
    }

    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        self.number() < other.number()
    }

    /// Returns the home for [`put_inside_of`].
    pub(crate) fn home_for_others(&mut self) -> Home {
        Home(Arc::clone(self.known().node()))
    }

    /// Records that the body has ended and that the exit will be awaited.
    #[inline]
    pub(crate) fn end_body(&mut self, name: &'static str) {
        if self.kind == Kind::Guard && here::may_have_to_wait() {
            self.known().end_body(name);
        }
    }

    /// Records that enter has exceeded its time limit and will be given up.
    pub(crate) fn be_late(&mut self) {
        self.known().be_late();
    }

    /// Records that the holder has gone: the rest of the context runs in the background.
    pub(crate) fn detach(&mut self, name: &'static str, has_closed: bool) {
        self.known().detach(name, has_closed);
    }

    /// Records that a poll of an awaited exit has returned `Pending`, so that the contexts around
    /// wait for the exit. A context that is not a guard is recorded only if `inside` put it into
    /// other contexts. The context that opened it needs no record: its own code awaits this exit,
    /// so it can't exit meanwhile.
    pub(crate) fn waits_in_exit(&mut self, name: &'static str) {
        self.known().waits_in_exit(name);
    }

    /// Returns `true` if the exit must wait (rules b and c).
    #[inline]
    pub(crate) fn has_to_wait(&self) -> bool {
        self.known.as_ref().is_some_and(Known::has_to_wait)
    }

    /// Returns the wait of a failed enter for the contexts that it opened and gave up, except those
    /// whose own enter exceeded a time limit. Otherwise that limit would have no effect.
    pub(crate) fn turn_of_failed_enter(&self, name: &'static str) -> Option<Turn> {
        self.known.as_ref()?.turn_of_failed_enter(name)
    }

    /// Returns the wait for the contexts that the exit must wait for.
    pub(crate) fn turn(&mut self, name: &'static str) -> Turn {
        self.known().turn(name)
    }

    /// Records that the exit, which began at `begin`, is cut off (rule e).
    pub(crate) fn cut_off(&mut self, begin: Begin) {
        self.known().node().cut(begin.0);
    }

    /// Begins the exit, whose turn has come.
    #[inline]
    pub(crate) fn begin_exit(&mut self, name: &'static str) {
        if let Some(known) = &mut self.known {
            known.begin_exit(name);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A poll that [`Place::poll`] has begun, and that ends when this drops.
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

/// The wait of an exit, or of a failed enter, for its turn: rules b and c.
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

    /// Returns a context that the exit must wait for, if there is one.
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

/// Waits until everything that the running exit has given up has ended: rule f.
pub(crate) async fn what_this_exit_has_given_up(name: &'static str) {
    over(name, given_up_by_this_exit).await;
}

/// Returns `true` if something that the running exit has given up has not ended.
pub(crate) fn has_this_exit_given_up_something() -> bool {
    given_up_by_this_exit().is_some()
}

fn given_up_by_this_exit() -> Option<Arc<Entry>> {
    if !List::is_there() {
        return None;
    }
    match here::code(false) {
        Code::Exit(exit) => exit.list(false)?.any(),
        Code::Outermost(_) | Code::Task(_) | Code::Unknown => None,
    }
}

/// Waits for one entry after the other, until `next` returns none.
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
    /// The name of the context that the code polled by this thread waits for, if it waits for one.
    static IS_WAITING: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Polls some code. Also returns the name of the context that the code waits for, if any.
pub(crate) fn poll_and_see<T>(poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, Option<&'static str>) {
    let _ = IS_WAITING.try_with(|cell| cell.set(None));
    let polled = poll();
    let is_waiting = IS_WAITING.try_with(Cell::get).ok().flatten();
    (polled, is_waiting)
}

/// Returns the contexts around a context whose enter begins here and now, for the roster.
pub(crate) fn around() -> Option<Arc<dyn Around>> {
    Some(node::inside_of(here::home()?))
}

/// Returns the task that polls here, or `None` inside a context or outside tokio.
pub(crate) fn root_outside_of_contexts() -> Option<Root> {
    if here::is_in_a_context() {
        return None;
    }
    Root::here()
}

/// A context that others are put inside of.
#[derive(Clone)]
pub(crate) struct Home(Arc<Node>);

/// Makes the context that is polling here independent (rule e). Returns `false` if `inside` put the
/// context inside another one.
pub(crate) fn make_independent() -> bool {
    here::home().is_none_or(|node| node.make_independent())
}

/// Puts the context that is polling here inside `home` as well (rule a). Returns `false` if the
/// context is independent.
pub(crate) fn put_inside_of(home: Home) -> bool {
    here::home().is_none_or(|node| node.put_inside_of(home.0))
}

/// The moment at which an exit began. If the exit is cut off, the contexts that were opened later
/// are let go (rule e).
#[derive(Clone, Copy)]
pub(crate) struct Begin(Number);

impl Begin {
    pub(crate) fn now() -> Self {
        Self(Number::of_a_guard())
    }

    /// Records that the exit that is polling here has been cut off (rule e).
    pub(crate) fn cut_off(self) {
        if let Some(node) = here::home() {
            node.cut(self.0);
        }
    }
}
