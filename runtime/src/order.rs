//! Who is inside whom: what keeps exits in reverse order of entering, also detached ones.
//!
//! A context that is exited where it was entered needs no help: Rust's own nesting is the order. An
//! exit that runs *detached* does: the contexts around it go on, come to their own end, and have to
//! wait for it. So each context has a [`Place`], noted when its enter begins, and each detached exit
//! is listed as a [`Running`] at the place of its context until it has ended.
//!
//! ```text
//!  task or thread ──┬── a.with ─── body ──┬── b.with ─── body      b is inside a
//!                   │                     └── c.with ─── body      c is inside a, beside b
//!                   └── guard g, then guard h                      h is beside g, and after it
//! ```
//!
//! 1. What is polled by a context (its enter, its body, its exit) is *inside* it. A thread-local says
//!    which context is polling; it is set for each poll, so a task may move between threads.
//! 2. A guard has no body that we poll. What was entered *beside* it (inside the same context, or in
//!    the same task outside of any) and after it counts as inside it while it is held.
//! 3. An exit waits for the detached exits inside its context before its own code runs.
//! 4. A context that ends while a detached exit inside it still runs (one from its own exit, say)
//!    leaves it to the context around it.
//!
//! No exit waits for one that was listed after its own context had ended, so there is no cycle.
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

/// The detached exits running in one scope, by the number of their context.
type Exits = BTreeMap<u64, Arc<Listed>>;

/// The inside of one context. Made when the first context enters there.
#[derive(Debug, Default)]
struct Scope(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    exits: Exits,
    /// Where the exits are listed now that the context itself has ended.
    moved_to: Option<Outer>,
}

/// Where the poll that goes on in this thread is: outside of any context, or inside one, whose
/// scope is there if something entered it before.
type Here = Option<Option<Arc<Scope>>>;

thread_local! {
    static HERE: Cell<Here> = const { Cell::new(None) };
}

/// A task outside of any context, for guards that are held side by side in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Root {
    Task(task::Id),
    /// The future of a `block_on`, which stays on its thread.
    Thread(ThreadId),
}

/// The detached exits outside of any context, by their task: only tasks that have some are here.
static ROOTS: LazyLock<Mutex<HashMap<Root, Exits>>> = LazyLock::new(Mutex::default);

/// How many exits are in [`ROOTS`], so that a program without any takes no lock.
static IN_ROOTS: AtomicUsize = AtomicUsize::new(0);

/// What a context is directly inside of.
#[derive(Debug, Clone)]
enum Outer {
    Context(Arc<Scope>),
    Root(Root),
}

/// The place of one context among the others.
#[derive(Debug)]
pub(crate) struct Place {
    /// Counts up with every enter, in all threads.
    number: u64,
    outer: Outer,
    inner: Option<Arc<Scope>>,
    /// The detached exits that rule 2 puts inside, from the end of the body on.
    beside: Vec<CancellationToken>,
}

impl Place {
    /// The place of a context whose enter begins now.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            outer: Outer::here(),
            inner: None,
            beside: Vec::new(),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Until the guard drops, what enters in this thread enters inside this context.
    pub(crate) fn inside(&mut self) -> Inside<'_> {
        let around = replace_here(Some(self.inner.take()));
        Inside {
            place: self,
            around,
        }
    }

    /// The body of this context has ended now.
    pub(crate) fn close(&mut self, scoped: Scoped) {
        if scoped == Scoped::Neighbours {
            self.beside = self.outer.listed_after(self.number);
        }
    }

    /// The detached exits inside this context, which its own exit waits for.
    pub(crate) fn inner_exits(&self) -> InnerExits {
        InnerExits {
            beside: self.beside.clone(),
            inside: self.inner.clone(),
        }
    }

    /// Lists the exit of this context as one that runs detached, until the value drops.
    pub(crate) fn list(&self) -> Running {
        let exit = Arc::new(Listed::default());
        *lock(&exit.home) = Some(self.outer.insert(self.number, &exit));
        Running {
            number: self.number,
            exit,
        }
    }
}

impl Drop for Place {
    /// Rule 4.
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        let left = {
            let mut contents = lock(&inner.0);
            contents.moved_to = Some(self.outer.clone());
            std::mem::take(&mut contents.exits)
        };
        for (number, exit) in left {
            let mut home = lock(&exit.home);
            if home.is_some() {
                *home = Some(self.outer.insert(number, &exit));
            }
        }
    }
}

/// What counts as the scope of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scoped {
    /// What its body, enter and exit do: rule 1.
    Body,
    /// Also what was entered after it, beside it: rule 2.
    Neighbours,
}

/// See [`Place::inside`].
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    place: &'a mut Place,
    around: Here,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.place.inner = replace_here(self.around.take()).flatten();
    }
}

/// The detached exits that an exit waits for.
#[derive(Debug)]
pub(crate) struct InnerExits {
    beside: Vec<CancellationToken>,
    inside: Option<Arc<Scope>>,
}

impl InnerExits {
    pub(crate) async fn ended(&self) {
        for exit in &self.beside {
            exit.cancelled().await;
        }
        let Some(scope) = &self.inside else { return };
        while let Some(exit) = scope.last() {
            exit.cancelled().await;
        }
    }
}

impl Scope {
    /// The end of the exit that is still running here and was entered last.
    fn last(&self) -> Option<CancellationToken> {
        lock(&self.0)
            .exits
            .last_key_value()
            .map(|(_, exit)| exit.ended.clone())
    }
}

/// A detached exit in the list of its scope. Dropped when it has ended.
#[derive(Debug)]
pub(crate) struct Running {
    number: u64,
    exit: Arc<Listed>,
}

#[derive(Debug, Default)]
struct Listed {
    ended: CancellationToken,
    /// The list it is in: not where it was listed first, once rule 4 has moved it; `None` when it
    /// has ended. Locked before the list itself.
    home: Mutex<Option<Outer>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(home) = lock(&self.exit.home).take() {
            home.remove(self.number);
        }
        self.exit.ended.cancel();
    }
}

impl Outer {
    fn here() -> Self {
        let mut here = replace_here(None);
        let outer = match &mut here {
            None => Self::Root(Root::here()),
            Some(scope) => Self::Context(Arc::clone(scope.get_or_insert_default())),
        };
        replace_here(here);
        outer
    }

    /// Lists an exit, and gives the place where it stands now.
    fn insert(&self, number: u64, exit: &Arc<Listed>) -> Self {
        let mut place = self.clone();
        loop {
            let next = match &place {
                Self::Context(scope) => {
                    let mut contents = lock(&scope.0);
                    if contents.moved_to.is_none() {
                        contents.exits.insert(number, Arc::clone(exit));
                    }
                    contents.moved_to.clone()
                }
                Self::Root(root) => {
                    IN_ROOTS.fetch_add(1, Ordering::Relaxed);
                    let mut roots = lock(&ROOTS);
                    let exits = roots.entry(*root).or_default();
                    exits.insert(number, Arc::clone(exit));
                    None
                }
            };
            match next {
                Some(outer) => place = outer,
                None => return place,
            }
        }
    }

    fn remove(&self, number: u64) {
        match self {
            Self::Context(scope) => {
                lock(&scope.0).exits.remove(&number);
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

    /// The ends of the exits that are listed here, of contexts entered after that number.
    fn listed_after(&self, number: u64) -> Vec<CancellationToken> {
        let after = |exits: &Exits| {
            let exits = exits.range(number + 1..);
            exits.map(|(_, exit)| exit.ended.clone()).collect()
        };
        match self {
            Self::Context(scope) => {
                let contents = lock(&scope.0);
                let Some(outer) = contents.moved_to.clone() else {
                    return after(&contents.exits);
                };
                drop(contents);
                outer.listed_after(number)
            }
            Self::Root(_) if IN_ROOTS.load(Ordering::Relaxed) == 0 => Vec::new(),
            Self::Root(root) => lock(&ROOTS).get(root).map(after).unwrap_or_default(),
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

/// In a thread that is being torn down there is no `HERE` any more, and nothing is polled.
fn replace_here(here: Here) -> Here {
    HERE.try_with(|cell| cell.replace(here)).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
