//! A context, as those that are inside of it see it (rules a and b).

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::age::{Age, Number};
use super::entry::Entry;
use super::list::List;
use crate::roster::Around;

/// A context that others refer to. It is there as long as one of them is.
///
/// Locks are taken from the inside outwards: of a context first, then of one that it is inside of.
#[derive(Debug)]
pub(super) struct Node {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Once it is known: for the roster alone.
    name: Option<&'static str>,
    /// As seen from its first home.
    age: Age,
    homes: Homes,
    /// What is inside and has been given up, until it has ended. By the address of the entry.
    inside: BTreeMap<usize, Arc<Entry>>,
    /// What the code of its exit has given up.
    list: Option<Arc<List>>,
    /// What the code of a task has given up of which it is the outermost context: see
    /// [`Code::Outermost`](super::here::Code::Outermost).
    list_of_task: Option<Arc<List>>,
    /// The exit in whose code it was given up.
    given_up_in: Option<Arc<Node>>,
    is_independent: bool,
    /// Its exit was cut off by a time limit, and had begun then.
    cut: Option<Number>,
    /// What is inside of it is inside of its homes now.
    has_ended: bool,
}

/// What a context is directly inside of: nothing at the root of a task, and for an independent one.
#[derive(Debug, Clone, Default)]
pub(super) struct Homes {
    /// The context whose code has opened it.
    pub(super) first: Option<Arc<Node>>,
    /// Those that it was put inside of by `inside`.
    also: Vec<Arc<Node>>,
}

impl Homes {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.first.iter().chain(&self.also)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.also.is_empty()
    }

    pub(super) fn has_some_by_inside(&self) -> bool {
        !self.also.is_empty()
    }

    /// Does one of them lie inside of the node, or is it the node?
    fn lead_to(&self, node: &Arc<Node>) -> bool {
        self.climb(|home| Arc::ptr_eq(home, node)).is_some()
    }

    /// Do they lead to the root of a task, with nothing independent on the way?
    fn lead_to_a_root(&self) -> bool {
        self.is_empty() || self.climb(|home| home.is_at_a_root()).is_some()
    }

    /// The first one for which this holds, from here outwards. What is independent ends the way.
    fn climb(&self, holds: impl Fn(&Arc<Node>) -> bool) -> Option<Arc<Node>> {
        let mut todo: Vec<_> = self.all().cloned().collect();
        while let Some(home) = todo.pop() {
            if holds(&home) {
                return Some(home);
            }
            let state = home.lock();
            if !state.is_independent {
                todo.extend(state.homes.all().cloned());
            }
        }
        None
    }
}

impl Node {
    pub(super) fn new(home: Option<Arc<Self>>, opened: Number) -> Arc<Self> {
        let homes = Homes {
            first: home,
            also: Vec::new(),
        };
        Arc::new(Self {
            state: Mutex::new(State {
                name: None,
                age: Age::new(opened),
                homes,
                inside: BTreeMap::new(),
                list: None,
                list_of_task: None,
                given_up_in: None,
                is_independent: false,
                cut: None,
                has_ended: false,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_name(&self, name: &'static str) {
        self.lock().name = Some(name);
    }

    /// It is a guard, which has been opened now.
    pub(super) fn set_number(&self, opened: Number) {
        self.lock().age = Age::new(opened);
    }

    /// It was polled elsewhere than where it was opened: here.
    pub(super) fn settle(&self, home: Option<Arc<Self>>, opened: Number) {
        let mut state = self.lock();
        state.age = Age::new(opened);
        if !state.is_independent {
            state.homes.first = home;
        }
    }

    /// Nobody waits for it. `false` if it was put inside of another one by name.
    pub(super) fn make_independent(&self) -> bool {
        let mut state = self.lock();
        if !state.homes.also.is_empty() {
            return false;
        }
        state.is_independent = true;
        state.homes = Homes::default();
        true
    }

    /// It is inside of this one as well. `false` if it is independent.
    pub(super) fn put_inside_of(&self, other: Arc<Self>) -> bool {
        let mut state = self.lock();
        if state.is_independent {
            return false;
        }
        state.homes.also.push(other);
        true
    }

    pub(super) fn is_independent(&self) -> bool {
        self.lock().is_independent
    }

    fn is_at_a_root(&self) -> bool {
        let state = self.lock();
        state.homes.is_empty() && !state.is_independent
    }

    pub(super) fn is_inside_of(self: &Arc<Self>, node: &Arc<Self>) -> bool {
        let homes = self.lock().homes.clone();
        homes.lead_to(node)
    }

    /// Is it inside of everything that the other one is inside of, and younger, seen from there?
    pub(super) fn is_beside_and_younger_than(&self, other: &Self) -> bool {
        loop {
            let (other_age, around) = other.where_it_is();
            let homes = self.lock().homes.clone();
            let is_beside = if around.is_empty() {
                homes.lead_to_a_root()
            } else {
                around.all().all(|home| homes.lead_to(home))
            };
            if !is_beside {
                return false;
            }
            let first = around.first.as_ref();
            let age = self.age_seen_from(first);
            // Both ages are seen from the same place, unless that one has ended meanwhile.
            if first.is_none_or(|home| home.where_it_was().is_none()) {
                return age > other_age;
            }
        }
    }

    fn age_seen_from(&self, place: Option<&Arc<Self>>) -> Age {
        let (mut age, mut homes) = self.where_it_is();
        while let Some(home) = homes.first {
            if place.is_some_and(|place| Arc::ptr_eq(place, &home)) {
                break;
            }
            let outer;
            (outer, homes) = home.where_it_is();
            age = age.inside_of(outer);
        }
        age
    }

    /// Its age and homes, with those left out that have ended: its own are noted so, too.
    pub(super) fn where_it_is(&self) -> (Age, Homes) {
        loop {
            let (age, homes) = {
                let state = self.lock();
                (state.age, state.homes.clone())
            };
            let ended = homes.first.as_ref();
            let ended = ended.and_then(|first| Some((first, first.where_it_was()?)));
            if let Some((first, (outer, further))) = ended {
                let mut state = self.lock();
                let is_new = state
                    .homes
                    .first
                    .as_ref()
                    .is_some_and(|now| Arc::ptr_eq(now, first));
                if is_new {
                    state.age = state.age.inside_of(outer);
                    state.homes.first = further.first;
                    state.homes.also.extend(further.also);
                }
                continue;
            }
            let ended = homes
                .also
                .iter()
                .position(|home| home.where_it_was().is_some());
            let Some(ended) = ended else {
                return (age, homes);
            };
            let Some((_, further)) = homes.also[ended].where_it_was() else {
                continue;
            };
            let mut state = self.lock();
            let is_new = state
                .homes
                .also
                .get(ended)
                .is_some_and(|now| Arc::ptr_eq(now, &homes.also[ended]));
            if is_new {
                state.homes.also.swap_remove(ended);
                for home in further.first.into_iter().chain(further.also) {
                    if !state.homes.all().any(|known| Arc::ptr_eq(known, &home)) {
                        state.homes.also.push(home);
                    }
                }
            }
        }
    }

    /// Where it was when it ended; `None` if it has not. What is inside of an independent one stays
    /// there, so that nobody else waits for that: rule e.
    fn where_it_was(&self) -> Option<(Age, Homes)> {
        let state = self.lock();
        let leads_on = state.has_ended && !state.is_independent;
        leads_on.then(|| (state.age, state.homes.clone()))
    }

    /// The exit in whose code it is given up.
    pub(super) fn set_given_up_in(&self, exit: Arc<Self>) {
        self.lock().given_up_in = Some(exit);
    }

    /// Was it given up in the exit of something inside of this one, or one further out?
    pub(super) fn was_given_up_inside_of(&self, node: &Arc<Self>) -> bool {
        let mut next = self.lock().given_up_in.clone();
        while let Some(exit) = next {
            if exit.is_inside_of(node) {
                return true;
            }
            let further = exit.lock().given_up_in.clone();
            next = further;
        }
        false
    }

    /// The list of what its exit has given up.
    pub(super) fn list(&self, make: bool) -> Option<Arc<List>> {
        list_in(&mut self.lock().list, make)
    }

    /// The list of the task that this is the outermost context of. Its exit is other code than its
    /// body.
    pub(super) fn list_of_task(&self, make: bool) -> Option<Arc<List>> {
        list_in(&mut self.lock().list_of_task, make)
    }

    /// One of those inside which have been given up, and have not ended.
    pub(super) fn first_inside(&self) -> Option<Arc<Entry>> {
        let state = self.lock();
        state.inside.values().next().cloned()
    }

    /// The same, for an enter that has failed.
    pub(super) fn first_inside_in_time(&self) -> Option<Arc<Entry>> {
        let state = self.lock();
        let mut inside = state.inside.values();
        inside.find(|entry| !entry.is_late()).cloned()
    }

    /// What has been opened in its exit, which began then, is let go when it ends.
    pub(super) fn cut(&self, exit_began: Number) {
        self.lock().cut = Some(exit_began);
    }

    /// Counts this one as inside, of the node itself or, where that has ended, of its homes.
    pub(super) fn add(&self, entry: &Arc<Entry>) {
        self.at_open(|inside| {
            inside.insert(key(entry), Arc::clone(entry));
        });
    }

    pub(super) fn remove(&self, entry: &Arc<Entry>) {
        self.at_open(|inside| {
            inside.remove(&key(entry));
        });
    }

    fn at_open(&self, mut change: impl FnMut(&mut BTreeMap<usize, Arc<Entry>>)) {
        let mut todo: Vec<Arc<Self>> = {
            let mut state = self.lock();
            if !state.has_ended {
                return change(&mut state.inside);
            }
            state.homes.all().cloned().collect()
        };
        while let Some(node) = todo.pop() {
            let mut state = node.lock();
            if state.has_ended {
                todo.extend(state.homes.all().cloned());
            } else {
                change(&mut state.inside);
            }
        }
    }

    /// Is there nobody who refers to it, and nothing that it would leave?
    pub(super) fn is_unknown(self: &mut Arc<Self>) -> bool {
        let Some(node) = Arc::get_mut(self) else {
            return false;
        };
        let state = node.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.inside.is_empty() && state.list.is_none() && state.list_of_task.is_none()
    }

    /// The context has ended. What still runs in it goes to its homes; where its exit was cut off,
    /// what was opened in that is let go, and given back.
    pub(super) fn end(&self) -> Vec<Arc<Entry>> {
        self.where_it_is();
        let mut state = self.lock();
        if mem::replace(&mut state.has_ended, true) {
            return Vec::new();
        }
        state.given_up_in = None;
        let mut inside = mem::take(&mut state.inside);
        let mut let_go = Vec::new();
        if let Some(began) = state.cut {
            inside.retain(|_, entry| {
                let was_there = entry.number < began;
                if !was_there {
                    let_go.push(Arc::clone(entry));
                }
                was_there
            });
        }
        // Under the lock: whoever looks for an entry finds it here, or there.
        let mut homes = state.homes.all().peekable();
        while let Some(home) = homes.next() {
            let entries = if homes.peek().is_some() {
                inside.clone()
            } else {
                mem::take(&mut inside)
            };
            home.take_over(entries);
        }
        let_go
    }

    fn take_over(&self, mut entries: BTreeMap<usize, Arc<Entry>>) {
        if entries.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.has_ended {
            // It has ended since it was looked at.
            for home in state.homes.all() {
                home.take_over(entries.clone());
            }
            return;
        }
        if entries.len() > state.inside.len() {
            mem::swap(&mut entries, &mut state.inside);
        }
        state.inside.extend(entries);
    }

    /// It was taken for one that this code is inside of, and is not: what is inside of it is at the
    /// root.
    pub(super) fn leave(&self) {
        self.lock().homes = Homes::default();
        self.end();
    }
}

/// For the roster: what is inside of this one.
pub(super) fn inside_of(node: Arc<Node>) -> Arc<dyn Around> {
    Arc::new(InsideOf(node))
}

/// For the roster: what this one is inside of.
pub(super) fn homes_of(node: &Arc<Node>) -> Arc<dyn Around> {
    Arc::new(HomesOf(Arc::clone(node)))
}

struct InsideOf(Arc<Node>);

struct HomesOf(Arc<Node>);

impl Around for InsideOf {
    fn names(&self) -> Vec<&'static str> {
        nearest_names(vec![Arc::clone(&self.0)])
    }
}

impl Around for HomesOf {
    fn names(&self) -> Vec<&'static str> {
        let homes = self.0.lock().homes.clone();
        nearest_names(homes.all().cloned().collect())
    }
}

/// Of these, or else of those around them, what has not ended and has a name.
fn nearest_names(mut todo: Vec<Arc<Node>>) -> Vec<&'static str> {
    let mut names = Vec::new();
    todo.reverse();
    while let Some(node) = todo.pop() {
        let state = node.lock();
        match state.name.filter(|_| !state.has_ended) {
            Some(name) if names.contains(&name) => {}
            Some(name) => names.push(name),
            None => todo.extend(state.homes.all().cloned()),
        }
    }
    names
}

fn list_in(list: &mut Option<Arc<List>>, make: bool) -> Option<Arc<List>> {
    if list.is_none() && make {
        *list = Some(List::new(None));
    }
    list.clone()
}

fn key(entry: &Arc<Entry>) -> usize {
    Arc::as_ptr(entry).addr()
}

impl Drop for Node {
    /// Not by recursion: what has ended may be a long way inside of what has ended.
    fn drop(&mut self) {
        let mut todo = Vec::new();
        let mut take = |state: &mut State| {
            todo.extend(state.homes.first.take());
            todo.append(&mut state.homes.also);
            todo.extend(state.given_up_in.take());
        };
        let state = self.state.get_mut();
        take(state.unwrap_or_else(PoisonError::into_inner));
        while let Some(node) = todo.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                let state = node.state.get_mut().unwrap_or_else(PoisonError::into_inner);
                todo.extend(state.homes.first.take());
                todo.append(&mut state.homes.also);
                todo.extend(state.given_up_in.take());
            }
        }
    }
}
