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
//! There is no cycle. By rule 3 an exit waits for what is further inside. By rule 2 it waits for exits
//! that were listed before it was given up, and that is an order in time; and where the guard is given
//! up by an exit that is running, not for those that wait for that exit: see [`Beside::covers`].
//!
//! The contexts of sibling futures (the arms of a `join!`) are beside each other and do not wait
//! for each other, with one exception that can't be told apart from a sequence: a *guard* held in
//! one arm waits for what another arm entered after it and gave up before it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use tokio::task;
use tokio_util::sync::CancellationToken;

/// Counts up with every enter, in all threads.
static ENTERED: AtomicU64 = AtomicU64::new(0);

/// Counts up with every listing.
static LISTED: AtomicU64 = AtomicU64::new(0);

/// The detached exits outside of any context, by their task: only tasks that have some are here.
static ROOTS: LazyLock<Mutex<HashMap<Root, Exits>>> = LazyLock::new(Mutex::default);

/// How many exits are in [`ROOTS`], so that a program without any takes no lock.
static IN_ROOTS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The context that polls in this thread now. Its position is here meanwhile, and not in its
    /// [`Place`].
    static HERE: Cell<Option<Here>> = const { Cell::new(None) };
}

#[derive(Debug)]
struct Here {
    position: Position,
    /// The task that it polls in. Another one may be polled from there, by a `LocalSet`: that one is
    /// not inside.
    task: Option<task::Id>,
}

/// The place of one context among the others.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    /// `None` while the context polls: see [`HERE`].
    position: Option<Position>,
    /// What rule 2 puts inside, once the body has ended.
    beside: Vec<Beside>,
}

#[derive(Debug)]
struct Position {
    number: u64,
    outer: Outer,
    /// Made when it is needed first: most contexts have no other inside.
    inner: Option<Arc<Inside>>,
}

/// The inside of one context.
#[derive(Debug)]
struct Inside {
    number: u64,
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

/// Detached exits, by the numbers of their contexts.
type Exits = BTreeMap<u64, Arc<Entry>>;

/// A detached exit, as others see it.
#[derive(Debug)]
struct Entry {
    /// How many contexts had been entered when this one was given up.
    given_up_at: u64,
    listed_at: u64,
    ended: CancellationToken,
    /// The list it is in: not where it was listed first, once rule 4 has moved it; `None` when it
    /// has ended. Locked before the list itself.
    home: Mutex<Option<Outer>>,
}

impl Place {
    /// The place of a context whose enter begins now.
    pub(crate) fn new() -> Self {
        let number = ENTERED.fetch_add(1, Ordering::Relaxed);
        let position = Position {
            number,
            outer: Outer::here(),
            inner: None,
        };
        Self {
            number,
            position: Some(position),
            beside: Vec::new(),
        }
    }

    /// Its number among all contexts, in order of entering.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Until the guard drops, what enters in this thread enters inside this context.
    pub(crate) fn inside(&mut self) -> Polling<'_> {
        let here = self.position.take().map(|position| Here {
            position,
            task: task::try_id(),
        });
        Polling {
            around: replace_here(here),
            place: self,
        }
    }

    /// The body of this context has ended now.
    pub(crate) fn close(&mut self, covers: Covers) {
        let Some(position) = &self.position else {
            return;
        };
        if covers == Covers::Neighbours {
            self.beside = Beside::all(position);
        }
    }

    /// The detached exits inside this context, which its own exit waits for.
    pub(crate) fn inner_exits(&self) -> InnerExits {
        InnerExits {
            beside: self.beside.clone(),
            inside: self.position.as_ref().and_then(|place| place.inner.clone()),
        }
    }

    /// Lists the exit of this context as one that runs detached, until the value drops.
    pub(crate) fn list(&mut self) -> Listing {
        let entry = Arc::new(Entry {
            given_up_at: ENTERED.load(Ordering::Relaxed),
            listed_at: LISTED.fetch_add(1, Ordering::Relaxed),
            ended: CancellationToken::new(),
            home: Mutex::default(),
        });
        if let Some(position) = &mut self.position {
            // Whoever watches this exit sees what is inside from now on.
            position.inside();
            let mut home = lock(&entry.home);
            *home = Some(position.outer.insert(self.number, &entry));
        }
        Listing {
            number: self.number,
            entry,
        }
    }
}

impl Drop for Place {
    /// Rule 4.
    fn drop(&mut self) {
        let Some(position) = self.position.take() else {
            return;
        };
        let Some(inner) = position.inner else { return };
        let left = {
            let mut contents = lock(&inner.contents);
            contents.moved_to = Some(position.outer.clone());
            contents.exits.clone()
        };
        // First in both lists, then in the new one: at no time in none.
        for (number, entry) in &left {
            let mut home = lock(&entry.home);
            if home.is_some() {
                *home = Some(position.outer.insert(*number, entry));
            }
        }
        lock(&inner.contents).exits.clear();
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
#[derive(Debug)]
pub(crate) struct Polling<'a> {
    place: &'a mut Place,
    around: Option<Here>,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let here = replace_here(self.around.take());
        self.place.position = here.map(|here| here.position);
    }
}

/// The detached exits that an exit waits for.
#[derive(Debug)]
pub(crate) struct InnerExits {
    beside: Vec<Beside>,
    inside: Option<Arc<Inside>>,
}

impl InnerExits {
    pub(crate) async fn ended(&self) {
        while let Some(exit) = self.running() {
            exit.cancelled().await;
        }
    }

    /// Is none running?
    pub(crate) fn have_ended(&self) -> bool {
        self.running().is_none()
    }

    /// The end of one that is still running: of those in one list, the one entered first, which is
    /// the last to end.
    fn running(&self) -> Option<CancellationToken> {
        let inside = self.inside.as_ref().and_then(|inside| {
            let contents = lock(&inside.contents);
            let first = contents.exits.first_key_value();
            first.map(|(_, entry)| entry.ended.clone())
        });
        inside.or_else(|| self.beside.iter().find_map(Beside::running))
    }
}

/// Of the exits in one list, those that rule 2 puts inside of a guard.
#[derive(Debug, Clone)]
struct Beside {
    list: Outer,
    guard: u64,
    /// The context in that list which the guard was given up inside of.
    within: Option<u64>,
    before: u64,
}

impl Beside {
    /// From the place where the guard is given up, outwards, to the one where it was entered.
    fn all(guard: &Position) -> Vec<Self> {
        let home = guard.outer.resolve();
        let mut all = Vec::new();
        let mut look = |list: &Outer, within| {
            let beside = Self {
                list: list.clone(),
                guard: guard.number,
                within,
                before: LISTED.load(Ordering::Relaxed),
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
                    within = Some(inside.number);
                    list = inside.outer.clone();
                }
                Outer::Root(_) => break,
            }
        }
        // It was moved to where nothing leads to its home.
        look(&home, None);
        all
    }

    /// Is this exit inside of the guard, and does it not wait, by rule 2, for the exit that the guard
    /// is given up in?
    fn covers(&self, number: u64, entry: &Entry) -> bool {
        let is_around = |within| number <= within && within < entry.given_up_at;
        number > self.guard && entry.listed_at < self.before && !self.within.is_some_and(is_around)
    }

    fn running(&self) -> Option<CancellationToken> {
        // Rule 4 may be moving them: from each list on to the next, at no time in none.
        let mut list = Some(self.list.clone());
        while let Some(place) = list {
            let running = place.look(|exits| {
                let mut after = exits.range(self.guard + 1..);
                let first = after.find(|(number, entry)| self.covers(**number, entry));
                first.map(|(_, entry)| entry.ended.clone())
            });
            if let Some(Some(running)) = running {
                return Some(running);
            }
            list = place.moved_to();
        }
        None
    }
}

/// A detached exit, as its owner has it: it counts as running until this drops.
#[derive(Debug)]
pub(crate) struct Listing {
    number: u64,
    entry: Arc<Entry>,
}

impl Drop for Listing {
    fn drop(&mut self) {
        if let Some(home) = lock(&self.entry.home).take() {
            home.remove(self.number);
        }
        self.entry.ended.cancel();
    }
}

impl Position {
    fn inside(&mut self) -> &Arc<Inside> {
        self.inner.get_or_insert_with(|| {
            Arc::new(Inside {
                number: self.number,
                outer: self.outer.clone(),
                contents: Mutex::default(),
            })
        })
    }
}

impl Outer {
    /// What a context that enters now is inside of.
    fn here() -> Self {
        let mut here = replace_here(None);
        let outer = match &mut here {
            Some(here) if here.task == task::try_id() => {
                Self::Context(Arc::clone(here.position.inside()))
            }
            _ => Self::Root(Root::here()),
        };
        replace_here(here);
        outer
    }

    /// The nearest list around the code that runs now, and the context in it which that code is
    /// inside of.
    fn around_here() -> (Self, Option<u64>) {
        let here = replace_here(None);
        let around = match &here {
            Some(here) if here.task == task::try_id() => match &here.position {
                Position {
                    inner: Some(inside),
                    ..
                } => (Self::Context(Arc::clone(inside)), None),
                // Nothing was entered inside, so nothing is listed there.
                Position { number, outer, .. } => (outer.clone(), Some(*number)),
            },
            _ => (Self::Root(Root::here()), None),
        };
        replace_here(here);
        around
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

    /// Lists an exit, and gives the place where it stands now.
    fn insert(&self, number: u64, entry: &Arc<Entry>) -> Self {
        loop {
            let place = self.resolve();
            match &place {
                Self::Context(inside) => {
                    let mut contents = lock(&inside.contents);
                    if contents.moved_to.is_some() {
                        continue;
                    }
                    contents.exits.insert(number, Arc::clone(entry));
                }
                Self::Root(root) => {
                    IN_ROOTS.fetch_add(1, Ordering::Relaxed);
                    let mut roots = lock(&ROOTS);
                    let exits = roots.entry(*root).or_default();
                    exits.insert(number, Arc::clone(entry));
                }
            }
            return place;
        }
    }

    fn remove(&self, number: u64) {
        match self {
            Self::Context(inside) => {
                lock(&inside.contents).exits.remove(&number);
            }
            Self::Root(root) => {
                let mut roots = lock(&ROOTS);
                if let Some(exits) = roots.get_mut(root) {
                    exits.remove(&number);
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
            None => Self::Thread(std::thread::current().id()),
        }
    }
}

/// In a thread that is being torn down there is no [`HERE`] any more. A context that is polled there
/// has no place from then on: nobody waits for it.
fn replace_here(here: Option<Here>) -> Option<Here> {
    HERE.try_with(|cell| cell.replace(here)).ok().flatten()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
