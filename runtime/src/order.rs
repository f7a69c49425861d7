//! Who is inside whom: what keeps exits in reverse order of entering, also detached ones.
//!
//! A context that is exited where it was entered needs no help: Rust's own nesting is the order. An
//! exit that runs *detached* does: the contexts around it go on, come to their own end, and have to
//! wait for it. So each context has a [`Place`], noted when its enter begins, and each detached exit
//! has a [`Listing`] at the place of its context until it has ended.
//!
//! ```text
//!  task or thread ──┬── a.with ─── body ──┬── b.with ─── body      b is inside a
//!                   │                     └── c.with ─── body      c is inside a, beside b
//!                   └── guard g, then guard h                      h is beside g, and after it
//! ```
//!
//! 1. What is polled by a context (its enter, its body, its exit) is *inside* it. A thread-local says
//!    which context is polling; it is set for each poll, and for the drop of a body, so a task may
//!    move between threads.
//! 2. A guard has no body that we poll. While it is held, what is entered after it counts as inside it:
//!    between the context that it was entered in, or the task outside of any, and the place where it is
//!    given up.
//! 3. An exit waits for the detached exits inside its context before its own code runs.
//! 4. A context that ends while a detached exit inside it still runs (one from its own exit, say)
//!    leaves it to the context around it.
//!
//! Order in time is told by *events*, which are counted: a guard is entered, an exit is listed. A context
//! with a body that we poll only notes how many there have been when it enters: all that it can be
//! compared with is such an event, and so entering and exiting it writes nothing that threads share.
//!
//! There is no cycle. By rule 3 an exit waits for what is further inside. By rule 2 it waits for exits
//! that were listed before it was given up, and that is an order in time; and where the guard is given
//! up by an exit that is running, not for those that wait for that exit: see [`Beside::covers`].
//!
//! The contexts of sibling futures (the arms of a `join!`) are beside each other and do not wait
//! for each other, with one exception that can't be told apart from a sequence: a *guard* held in
//! one arm waits for what another arm entered after it and gave up before it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task;

use crate::observe::{Traced, Watch};

/// How many guards have been entered and exits been listed, in all threads.
static EVENTS: AtomicU64 = AtomicU64::new(0);

/// How many guards are held, or exit, now. Where there is none, nobody looks for the exits in [`ROOTS`]:
/// one that is entered later is not around what was entered before.
static GUARDS: AtomicUsize = AtomicUsize::new(0);

/// The detached exits outside of any context, by their task: only tasks that have some are here.
static ROOTS: LazyLock<Mutex<HashMap<Root, Exits>>> = LazyLock::new(Mutex::default);

/// How many exits are in [`ROOTS`], so that a program without any takes no lock.
static IN_ROOTS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The context that polls in this thread now. It is here meanwhile, and not in its [`Place`].
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };

    static THREAD: ThreadId = thread::current().id();
}

/// The place of one context among the others.
#[derive(Debug)]
pub(crate) struct Place {
    /// While the context polls it has changed places with what is around: see [`HERE`].
    here: Option<Here>,
    covers: Covers,
    /// What rule 2 puts inside, once the body has ended. Boxed, for being rare.
    beside: Option<Box<[Beside]>>,
    /// The runtime that it was entered on, once it has to be known.
    runtime: Option<Handle>,
    watch: Watch,
}

/// A context, for those that enter inside of it.
#[derive(Debug)]
struct Here {
    /// How many events there had been when it was entered: for a guard, itself among them.
    entered_at: u64,
    outer: Outer,
    /// Made when it is needed first: most contexts have no other inside.
    inner: Option<Arc<Inside>>,
    /// The task that it polls in. Another one may be polled from there, by a `LocalSet`: that one is
    /// not inside.
    task: Option<task::Id>,
}

/// The inside of one context.
#[derive(Debug)]
struct Inside {
    entered_at: u64,
    outer: Outer,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    exits: Exits,
    /// Where the exits are listed now that the context itself has ended.
    moved_to: Option<Outer>,
}

/// What a context is directly inside of.
#[derive(Debug, Clone)]
enum Outer {
    Context(Arc<Inside>),
    Root(Root),
}

/// A task outside of any context, for guards that are held side by side in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Root {
    Task(task::Id),
    /// The future of a `block_on`, which stays on its thread.
    Thread(ThreadId),
}

/// Detached exits, in the order in which their contexts were entered.
type Exits = BTreeMap<Key, Arc<Entry>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    entered_at: u64,
    /// The number of this event. No two are the same.
    listed_at: u64,
}

impl Key {
    /// Before all exits of contexts that were entered then or later.
    fn entered_at(entered_at: u64) -> Self {
        Self {
            entered_at,
            listed_at: 0,
        }
    }
}

/// A detached exit, as others see it.
#[derive(Debug)]
struct Entry {
    key: Key,
    has_ended: AtomicBool,
    end: Notify,
    /// The list it is in: not where it was listed first, once rule 4 has moved it; `None` when it
    /// has ended. Locked before the list itself.
    home: Mutex<Option<Outer>>,
}

impl Place {
    /// The place of a context whose enter begins now.
    pub(crate) fn new(covers: Covers, watch: Watch) -> Self {
        let entered_at = match covers {
            Covers::Body => EVENTS.load(Ordering::Relaxed),
            Covers::Neighbours => {
                GUARDS.fetch_add(1, Ordering::Relaxed);
                next_event()
            }
        };
        Self {
            here: Some(Here {
                entered_at,
                outer: Outer::here(),
                inner: None,
                task: None,
            }),
            covers,
            beside: None,
            runtime: None,
            watch,
        }
    }

    /// The place of what has none any more.
    pub(crate) fn nowhere() -> Self {
        Self {
            here: None,
            covers: Covers::Body,
            beside: None,
            runtime: None,
            watch: Watch::default(),
        }
    }

    /// When it was entered. Of two guards, the older one has the lower number.
    pub(crate) fn entered_at(&self) -> u64 {
        self.here.as_ref().map_or(0, |here| here.entered_at)
    }

    /// It may be given up from now on: notes the runtime, which its exit would go on in.
    #[inline]
    pub(crate) fn note_runtime(&mut self) {
        if self.runtime.is_none() {
            self.runtime = Handle::try_current().ok();
        }
    }

    pub(crate) fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    pub(crate) fn take_runtime(&mut self) -> Option<Handle> {
        self.runtime.take()
    }

    /// Until the guard drops, what enters in this thread enters inside this context.
    #[inline]
    pub(crate) fn inside(&mut self) -> Polling<'_> {
        if let Some(here) = &mut self.here {
            here.task = task::try_id();
        }
        swap_here(&mut self.here);
        Polling {
            _traced: self.watch.trace(),
            place: self,
        }
    }

    /// The body of this context has ended now.
    #[inline]
    pub(crate) fn close(&mut self, covers: Covers) {
        if covers == Covers::Body {
            return;
        }
        if let Some(here) = &self.here {
            let beside = Beside::all(here);
            self.beside = (!beside.is_empty()).then(|| beside.into());
        }
    }

    /// Is there a detached exit inside this context, which its own exit would wait for?
    #[inline]
    pub(crate) fn has_inner_exits(&self) -> bool {
        let inside = self.here.as_ref().and_then(|here| here.inner.as_ref());
        let mut beside = self.beside.iter().flatten();
        inside.is_some_and(|inside| inside.running().is_some())
            || beside.any(|beside| beside.running().is_some())
    }

    /// The detached exits inside this context, which its own exit waits for.
    pub(crate) fn inner_exits(&self) -> InnerExits {
        InnerExits {
            beside: self.beside.clone(),
            inside: self.here.as_ref().and_then(|here| here.inner.clone()),
        }
    }

    /// Lists the exit of this context as one that runs detached, until the value drops.
    pub(crate) fn list(&self) -> Listing {
        let Some(here) = self.here.as_ref().filter(|here| here.outer.is_looked_at()) else {
            return Listing(None);
        };
        let entry = Arc::new(Entry {
            key: Key {
                entered_at: here.entered_at,
                listed_at: next_event(),
            },
            has_ended: AtomicBool::new(false),
            end: Notify::new(),
            home: Mutex::default(),
        });
        let mut home = lock(&entry.home);
        *home = Some(here.outer.insert(&entry));
        drop(home);
        Listing(Some(entry))
    }
}

/// The number of an event that happens now. The first is 1.
fn next_event() -> u64 {
    EVENTS.fetch_add(1, Ordering::Relaxed) + 1
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        if let Some(Here {
            outer,
            inner: Some(inner),
            ..
        }) = &self.here
        {
            inner.move_to(outer);
        }
        if self.covers == Covers::Neighbours {
            GUARDS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What counts as inside of a context besides what it polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Covers {
    /// Nothing: it polls its body.
    Body,
    /// What was entered after it: rule 2.
    Neighbours,
}

/// See [`Place::inside`].
pub(crate) struct Polling<'a> {
    place: &'a mut Place,
    _traced: Traced,
}

impl Drop for Polling<'_> {
    #[inline]
    fn drop(&mut self) {
        swap_here(&mut self.place.here);
    }
}

/// The detached exits that an exit waits for.
#[derive(Debug)]
pub(crate) struct InnerExits {
    beside: Option<Box<[Beside]>>,
    inside: Option<Arc<Inside>>,
}

impl InnerExits {
    pub(crate) async fn ended(&self) {
        while let Some(exit) = self.running() {
            exit.ended().await;
        }
    }

    /// One that is still running: of those in one list, the one entered first, which is the last to end.
    fn running(&self) -> Option<Arc<Entry>> {
        let inside = self.inside.as_ref().and_then(|inside| inside.running());
        inside.or_else(|| self.beside.iter().flatten().find_map(Beside::running))
    }
}

impl Inside {
    /// Rule 4.
    fn move_to(&self, outer: &Outer) {
        let left = {
            let mut contents = lock(&self.contents);
            contents.moved_to = Some(outer.clone());
            contents.exits.clone()
        };
        // First in both lists, then in the new one: at no time in none. Nor in the old one when it has
        // ended: who waits would look at it again and again.
        for (key, entry) in &left {
            let mut home = lock(&entry.home);
            if home.is_some() {
                *home = Some(outer.insert(entry));
                lock(&self.contents).exits.remove(key);
            }
        }
    }

    fn running(&self) -> Option<Arc<Entry>> {
        lock(&self.contents).exits.values().next().cloned()
    }
}

impl Entry {
    async fn ended(&self) {
        // Made before the look: an end after the look wakes it.
        let end = self.end.notified();
        if !self.has_ended.load(Ordering::Acquire) {
            end.await;
        }
    }
}

/// Of the exits in one list, those that rule 2 puts inside of a guard.
#[derive(Debug, Clone)]
struct Beside {
    list: Outer,
    /// When the guard was entered, and when it was given up.
    guard: u64,
    given_up_at: u64,
    /// When the context in that list was entered which the guard was given up inside of.
    within: Option<u64>,
}

impl Beside {
    /// From the place where the guard is given up, outwards, to the one where it was entered.
    fn all(guard: &Here) -> Vec<Self> {
        let home = guard.outer.resolve();
        let mut all = Vec::new();
        let mut look = |list: &Outer, within| {
            let beside = Self {
                list: list.clone(),
                guard: guard.entered_at,
                given_up_at: EVENTS.load(Ordering::Relaxed),
                within,
            };
            if beside.running().is_some() {
                all.push(beside);
            }
        };
        let (mut list, mut within) = Outer::around_here();
        loop {
            look(&list, within);
            if list.is(&home) {
                return all;
            }
            match list {
                Outer::Context(inside) => {
                    within = Some(inside.entered_at);
                    list = inside.outer.clone();
                }
                Outer::Root(_) => break,
            }
        }
        // It was moved to where nothing leads to its home.
        look(&home, None);
        all
    }

    /// Is this exit, of a context entered after the guard, inside of it, and does it not wait, by rule 2, for the exit that the guard
    /// is given up in?
    fn covers(&self, exit: Key) -> bool {
        let is_around = |within| exit.entered_at <= within && within < exit.listed_at;
        exit.listed_at <= self.given_up_at && !self.within.is_some_and(is_around)
    }

    fn running(&self) -> Option<Arc<Entry>> {
        // Rule 4 may be moving them: from each list on to the next, at no time in none.
        let mut list = Some(self.list.clone());
        while let Some(place) = list {
            let running = place.look(|exits| {
                let mut after = exits.range(Key::entered_at(self.guard)..);
                let first = after.find(|(key, _)| self.covers(**key));
                first.map(|(_, entry)| Arc::clone(entry))
            });
            if let Some(Some(running)) = running {
                return Some(running);
            }
            list = place.moved_to();
        }
        None
    }
}

/// A detached exit, as its owner has it: it counts as running until this drops. `None` where nobody looks.
#[derive(Debug)]
pub(crate) struct Listing(Option<Arc<Entry>>);

impl Drop for Listing {
    fn drop(&mut self) {
        let Some(entry) = &self.0 else { return };
        if let Some(home) = lock(&entry.home).take() {
            home.remove(entry.key);
        }
        entry.has_ended.store(true, Ordering::Release);
        entry.end.notify_waiters();
    }
}

impl Here {
    fn inside(&mut self) -> &Arc<Inside> {
        self.inner.get_or_insert_with(|| {
            Arc::new(Inside {
                entered_at: self.entered_at,
                outer: self.outer.clone(),
                contents: Mutex::default(),
            })
        })
    }
}

impl Outer {
    /// What a context that enters now is inside of.
    fn here() -> Self {
        let context = with_here(|here| Self::Context(Arc::clone(here.inside())));
        context.unwrap_or_else(|| Self::Root(Root::here()))
    }

    /// The nearest list around the code that runs now, and when the context in it was entered which
    /// that code is inside of.
    fn around_here() -> (Self, Option<u64>) {
        let around = with_here(|here| match &here.inner {
            Some(inside) => (Self::Context(Arc::clone(inside)), None),
            // Nothing was entered inside, so nothing is listed there.
            None => (here.outer.clone(), Some(here.entered_at)),
        });
        around.unwrap_or_else(|| (Self::Root(Root::here()), None))
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Context(one), Self::Context(other)) => Arc::ptr_eq(one, other),
            (Self::Root(one), Self::Root(other)) => one == other,
            _ => false,
        }
    }

    /// Itself, or where its exits have moved to.
    fn resolve(&self) -> Self {
        let mut place = self.clone();
        while let Some(outer) = place.moved_to() {
            place = outer;
        }
        place
    }

    fn moved_to(&self) -> Option<Self> {
        match self {
            Self::Context(inside) => lock(&inside.contents).moved_to.clone(),
            Self::Root(_) => None,
        }
    }

    /// Might somebody look for what is listed here?
    fn is_looked_at(&self) -> bool {
        match self {
            Self::Context(_) => true,
            Self::Root(_) => GUARDS.load(Ordering::Relaxed) != 0,
        }
    }

    /// Lists an exit, and gives the place where it stands now.
    fn insert(&self, entry: &Arc<Entry>) -> Self {
        loop {
            let place = self.resolve();
            match &place {
                Self::Context(inside) => {
                    let mut contents = lock(&inside.contents);
                    if contents.moved_to.is_some() {
                        continue;
                    }
                    contents.exits.insert(entry.key, Arc::clone(entry));
                }
                Self::Root(root) => {
                    IN_ROOTS.fetch_add(1, Ordering::Relaxed);
                    let mut roots = lock(&ROOTS);
                    let exits = roots.entry(*root).or_default();
                    exits.insert(entry.key, Arc::clone(entry));
                }
            }
            return place;
        }
    }

    fn remove(&self, key: Key) {
        match self {
            Self::Context(inside) => {
                lock(&inside.contents).exits.remove(&key);
            }
            Self::Root(root) => {
                let mut roots = lock(&ROOTS);
                if let Some(exits) = roots.get_mut(root) {
                    exits.remove(&key);
                    if exits.is_empty() {
                        roots.remove(root);
                    }
                }
                IN_ROOTS.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Looks at the exits that are listed here, if there are any.
    fn look<T>(&self, look: impl FnOnce(&Exits) -> T) -> Option<T> {
        match self {
            Self::Context(inside) => Some(look(&lock(&inside.contents).exits)),
            Self::Root(_) if IN_ROOTS.load(Ordering::Relaxed) == 0 => None,
            Self::Root(root) => lock(&ROOTS).get(root).map(look),
        }
    }
}

impl Root {
    fn here() -> Self {
        match task::try_id() {
            Some(id) => Self::Task(id),
            // In a thread that is being torn down there is no copy of its own any more.
            None => Self::Thread(
                THREAD
                    .try_with(|id| *id)
                    .unwrap_or_else(|_| thread::current().id()),
            ),
        }
    }
}

/// In a thread that is being torn down there is no [`HERE`] any more, and nobody to be inside of.
#[inline]
fn swap_here(here: &mut Option<Here>) {
    // An error means just that.
    let _ = HERE.try_with(|cell| mem::swap(&mut *cell.borrow_mut(), here));
}

/// Looks at the context that is polling here, if there is one.
fn with_here<T>(look: impl FnOnce(&mut Here) -> T) -> Option<T> {
    let look = |cell: &RefCell<Option<Here>>| {
        let mut here = cell.borrow_mut();
        let here = here.as_mut()?;
        (here.task == task::try_id()).then(|| look(here))
    };
    HERE.try_with(look).ok().flatten()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
