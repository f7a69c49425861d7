//! A context, as the contexts inside it see it (rules a and b).

use std::collections::BTreeMap;
use std::iter;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::age::{Age, Number};
use super::entry::Entry;
use super::list::List;
use crate::roster::Around;

/// A context that others refer to. The node lives as long as anything refers to it.
///
/// Locks are taken from the inside outwards: first the lock of a context, then the lock of a
/// context around it.
#[derive(Debug)]
pub(super) struct Node {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `Some` once the name is known. Only the roster needs it.
    name: Option<&'static str>,
    homes: Homes,
    /// The contexts inside that have been given up and have not ended, by the address of the entry.
    inside: BTreeMap<usize, Arc<Entry>>,
    /// The contexts that the code of this exit has given up.
    list: Option<Arc<List>>,
    /// The contexts that the code of a task has given up, if this is the task's outermost context.
    /// See [`Code::Outermost`](super::here::Code::Outermost).
    list_of_task: Option<Arc<List>>,
    /// The exit whose code gave this context up.
    given_up_in: Option<Arc<Node>>,
    is_independent: bool,
    /// When the exit began, if it was cut off.
    cut: Option<Number>,
    /// `true` once the context has ended. The contexts that were inside it are then inside its
    /// homes.
    has_ended: bool,
}

/// The contexts that a context is directly inside of, and its age as seen from each (rule d).
#[derive(Debug, Clone)]
pub(super) struct Homes {
    /// The context whose code opened this one. `None` at the root of a task, and for an independent
    /// context.
    first: Option<Arc<Node>>,
    /// The age as seen from the first home, or from the root.
    age: Age,
    /// The contexts that `inside` put this one into.
    also: Vec<(Arc<Node>, Age)>,
}

impl Homes {
    fn new(first: Option<Arc<Node>>, age: Age) -> Self {
        Self {
            first,
            age,
            also: Vec::new(),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.first
            .iter()
            .chain(self.also.iter().map(|(home, _)| home))
    }

    /// Returns the homes, and the root if there is no first home, with the age as seen from each.
    fn seen(&self) -> impl Iterator<Item = (Option<&Arc<Node>>, Age)> {
        let also = self.also.iter().map(|(home, age)| (Some(home), *age));
        iter::once((self.first.as_ref(), self.age)).chain(also)
    }

    /// Replaces the first home, which has ended, by its own homes.
    fn replace_first(&mut self, outer: Self) {
        let own = self.age;
        self.first = outer.first;
        self.age = own.inside_of(outer.age);
        for (home, age) in outer.also {
            self.add(home, own.inside_of(age));
        }
    }

    /// Replaces a home that has ended, and that came from `inside`, with the homes of that home.
    fn replace_also(&mut self, place: usize, outer: Self) {
        let (_, own) = self.also.swap_remove(place);
        let age = own.inside_of(outer.age);
        match outer.first {
            Some(home) => self.add(home, age),
            None if self.first.is_none() => self.age = self.age.max(age),
            None => {}
        }
        for (home, age) in outer.also {
            self.add(home, own.inside_of(age));
        }
    }

    /// Adds a home. If the home is known already, the younger age counts.
    fn add(&mut self, home: Arc<Node>, age: Age) {
        let is_known = |known: &&mut (Arc<Node>, Age)| Arc::ptr_eq(&known.0, &home);
        if self
            .first
            .as_ref()
            .is_some_and(|first| Arc::ptr_eq(first, &home))
        {
            self.age = self.age.max(age);
        } else if let Some((_, known)) = self.also.iter_mut().find(is_known) {
            *known = age.max(*known);
        } else {
            self.also.push((home, age));
        }
    }

    /// Returns the age if these homes are a single one, which the other homes begin with.
    fn age_if_alone(&self, others: &Self) -> Option<Age> {
        let is_same = address(self.first.as_ref()) == address(others.first.as_ref());
        (self.also.is_empty() && is_same).then_some(self.age)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.also.is_empty()
    }

    pub(super) fn has_some_by_inside(&self) -> bool {
        !self.also.is_empty()
    }

    /// Returns `true` if one of the homes is the node, or is inside it.
    fn lead_to(&self, node: &Arc<Node>) -> bool {
        self.climb(|home, _| Arc::ptr_eq(home, node))
    }

    /// Returns `true` if the homes lead to the root of a task, without an independent context
    /// between.
    fn lead_to_a_root(&self) -> bool {
        self.is_empty() || self.climb(|_, state| state.is_at_a_root())
    }

    /// Returns `true` if `holds` is true for a context from here outwards. The search stops at an
    /// independent context.
    fn climb(&self, holds: impl Fn(&Arc<Node>, &State) -> bool) -> bool {
        let mut todo: Vec<_> = self.all().cloned().collect();
        while let Some(home) = todo.pop() {
            // Locked once for both questions, because the homes of a context may be replaced at any
            // time, even by the root, when one of them has ended.
            let state = home.lock();
            if holds(&home, &state) {
                return true;
            }
            if !state.is_independent {
                todo.extend(state.homes.all().cloned());
            }
        }
        false
    }
}

impl State {
    fn is_at_a_root(&self) -> bool {
        self.homes.is_empty() && !self.is_independent
    }
}

impl Node {
    pub(super) fn new(home: Option<Arc<Self>>, opened: Number) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                name: None,
                homes: Homes::new(home, Age::new(opened)),
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

    /// Sets the number of a guard that was opened just now.
    pub(super) fn set_number(&self, opened: Number) {
        let mut state = self.lock();
        state.homes.age = Age::new(opened);
        for (_, age) in &mut state.homes.also {
            *age = Age::new(opened);
        }
    }

    /// Sets the home and the number of a context that was opened before this poll.
    pub(super) fn settle(&self, home: Option<Arc<Self>>, opened: Number) {
        self.set_number(opened);
        let mut state = self.lock();
        if !state.is_independent {
            state.homes.first = home;
        }
    }

    /// Makes the context independent: nobody waits for it any more. Returns `false` if `inside` was
    /// called for it.
    pub(super) fn make_independent(&self) -> bool {
        let mut state = self.lock();
        if !state.homes.also.is_empty() {
            return false;
        }
        state.is_independent = true;
        state.homes.first = None;
        true
    }

    /// Puts this context inside the other one as well. Returns `false` if this context is
    /// independent.
    pub(super) fn put_inside_of(&self, other: Arc<Self>) -> bool {
        let mut state = self.lock();
        if state.is_independent {
            return false;
        }
        let opened = state.homes.age;
        state.homes.also.push((other, opened));
        true
    }

    pub(super) fn is_independent(&self) -> bool {
        self.lock().is_independent
    }

    /// Returns `true` if `holds` is true for a context that this one is directly inside of.
    pub(super) fn is_inside_some(&self, holds: impl Fn(&Arc<Self>) -> bool) -> bool {
        let state = self.lock();
        state.homes.all().any(holds)
    }

    pub(super) fn is_inside_of(self: &Arc<Self>, node: &Arc<Self>) -> bool {
        let homes = self.lock().homes.clone();
        homes.lead_to(node)
    }

    /// Returns `true` if this context is inside every context that the other one is inside of, and
    /// is the younger one. The other one is a guard that was opened at `opened`.
    pub(super) fn is_beside_and_younger_than(&self, other: &Self, opened: Number) -> bool {
        loop {
            let others = other.where_it_is();
            let homes = self.lock().homes.clone();
            let is_beside = if others.is_empty() {
                homes.lead_to_a_root()
            } else {
                others.all().all(|home| homes.lead_to(home))
            };
            let is_it = is_beside && self.is_younger_than(other, &others, opened);
            // The answer holds, unless one of the places has ended meanwhile. Then the way from
            // this context may lead past that place.
            if others.all().all(|home| home.where_it_was().is_none()) {
                return is_it;
            }
        }
    }

    /// Returns `true` if one of the ways outwards makes this context the younger one (rule d). On
    /// each way, the outermost context counts that the other one is not inside of.
    fn is_younger_than(&self, other: &Self, others: &Homes, opened: Number) -> bool {
        let homes = self.where_it_is();
        if let (Some(age), Some(others)) = (homes.age_if_alone(others), others.age_if_alone(&homes))
        {
            return age > others;
        }
        // Both maps hold the contexts, so that no other context gets the address of one of them.
        let around = other.ages_seen_from_around();
        let mut known = BTreeMap::new();
        let mut todo = vec![homes];
        while let Some(homes) = todo.pop() {
            for (home, age) in homes.seen() {
                let place = address(home);
                let mut own = others.seen();
                let is_younger = if let Some((_, own)) = own.find(|(own, _)| address(*own) == place)
                {
                    age > own
                } else if let Some((_, seen)) = around.get(&place) {
                    age.first_difference(*seen) > Some(opened)
                } else {
                    // The other one is not inside this context.
                    if known.insert(place, home.cloned()).is_none() {
                        todo.extend(home.map(|home| home.where_it_is()));
                    }
                    false
                };
                if is_younger {
                    return true;
                }
            }
        }
        false
    }

    /// Returns the age as seen from each context around this one, and from the root: the youngest
    /// age if several ways lead there. The key is the address of the context.
    fn ages_seen_from_around(&self) -> BTreeMap<Option<usize>, (Option<Arc<Self>>, Age)> {
        let mut ages = BTreeMap::new();
        let mut todo = vec![(self.where_it_is(), None)];
        while let Some((homes, inner)) = todo.pop() {
            for (home, age) in homes.seen() {
                let age = inner.map_or(age, |inner: Age| inner.inside_of(age));
                let known = ages.get(&address(home));
                if known.is_some_and(|(_, known)| *known >= age) {
                    continue;
                }
                ages.insert(address(home), (home.cloned(), age));
                todo.extend(home.map(|home| (home.where_it_is(), Some(age))));
            }
        }
        ages
    }

    /// Returns the homes. A home that has ended is replaced by its own homes, in the result and in
    /// the state.
    pub(super) fn where_it_is(&self) -> Homes {
        loop {
            let homes = self.lock().homes.clone();
            let first = homes.first.as_ref();
            let ended = first.and_then(|first| Some((first, first.where_it_was()?)));
            if let Some((first, outer)) = ended {
                let homes = &mut self.lock().homes;
                let is_new = |now: &Arc<Self>| Arc::ptr_eq(now, first);
                if homes.first.as_ref().is_some_and(is_new) {
                    homes.replace_first(outer);
                }
                continue;
            }
            let mut by_inside = homes.also.iter().enumerate();
            let ended =
                by_inside.find_map(|(place, (home, _))| Some((place, home, home.where_it_was()?)));
            let Some((place, home, outer)) = ended else {
                return homes;
            };
            let homes = &mut self.lock().homes;
            let is_new = |(now, _): &(Arc<Self>, Age)| Arc::ptr_eq(now, home);
            if homes.also.get(place).is_some_and(is_new) {
                homes.replace_also(place, outer);
            }
        }
    }

    /// Returns the homes that this context had when it ended. Returns `None` if it has not ended or
    /// is independent: the contexts inside an independent context stay there, so that nobody else
    /// waits for them (rule e).
    fn where_it_was(&self) -> Option<Homes> {
        let state = self.lock();
        let leads_on = state.has_ended && !state.is_independent;
        leads_on.then(|| state.homes.clone())
    }

    /// Notes the exit whose code gives this context up.
    pub(super) fn set_given_up_in(&self, exit: Arc<Self>) {
        self.lock().given_up_in = Some(exit);
    }

    /// Returns `true` if this context was given up in an exit that is inside the node, directly or
    /// through further exits.
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

    /// Returns the list of the contexts that this exit has given up.
    pub(super) fn list(&self, make: bool) -> Option<Arc<List>> {
        list_in(&mut self.lock().list, make)
    }

    /// Returns the list of the task whose outermost context this is. The exit of the context has a
    /// list of its own.
    pub(super) fn list_of_task(&self, make: bool) -> Option<Arc<List>> {
        list_in(&mut self.lock().list_of_task, make)
    }

    /// Returns one of the contexts inside that have been given up and have not ended.
    pub(super) fn first_inside(&self) -> Option<Arc<Entry>> {
        let state = self.lock();
        state.inside.values().next().cloned()
    }

    /// As [`first_inside`](Self::first_inside), for an enter that has failed. A context whose own
    /// enter exceeded a time limit does not count.
    pub(super) fn first_inside_in_time(&self) -> Option<Arc<Entry>> {
        let state = self.lock();
        let mut inside = state.inside.values();
        inside.find(|entry| !entry.is_late()).cloned()
    }

    /// Records that the contexts that were opened since `exit_began` are let go when this context
    /// ends.
    pub(super) fn cut(&self, exit_began: Number) {
        self.lock().cut = Some(exit_began);
    }

    /// Counts the entry as inside the node, or inside its homes if the node has ended.
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

    /// Returns `true` if nobody else refers to the node, and the node would leave nothing behind.
    pub(super) fn is_unknown(self: &mut Arc<Self>) -> bool {
        let Some(node) = Arc::get_mut(self) else {
            return false;
        };
        let state = node.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.inside.is_empty() && state.list.is_none() && state.list_of_task.is_none()
    }

    /// Ends the context. The contexts that still run in it go to its homes. If the exit was cut
    /// off, the contexts that the exit had opened are returned instead, to be let go.
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
        // Under the lock, so that an entry is always found either here or in a home.
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
            // The home has ended meanwhile.
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

    /// Ends a node that was made by mistake for the code of another task. The contexts inside it
    /// move to the root.
    pub(super) fn leave(&self) {
        {
            let homes = &mut self.lock().homes;
            homes.first = None;
            homes.also.clear();
        }
        self.end();
    }
}

/// Returns the surroundings of the contexts inside this one, for the roster.
pub(super) fn inside_of(node: Arc<Node>) -> Arc<dyn Around> {
    Arc::new(InsideOf(node))
}

/// Returns the surroundings of this context, for the roster.
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

/// Returns the names of these contexts. A context that has ended, or has no name, is replaced by
/// the contexts around it.
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

fn address(place: Option<&Arc<Node>>) -> Option<usize> {
    place.map(|node| Arc::as_ptr(node).addr())
}

fn key(entry: &Arc<Entry>) -> usize {
    Arc::as_ptr(entry).addr()
}

impl Drop for Node {
    /// Drops the nodes around without recursion, because a long chain of contexts may have ended,
    /// one inside another.
    fn drop(&mut self) {
        let mut todo = Vec::new();
        let mut take = |state: &mut State| {
            todo.extend(state.homes.first.take());
            todo.extend(state.homes.also.drain(..).map(|(home, _)| home));
            todo.extend(state.given_up_in.take());
        };
        let state = self.state.get_mut();
        take(state.unwrap_or_else(PoisonError::into_inner));
        while let Some(node) = todo.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                let state = node.state.get_mut().unwrap_or_else(PoisonError::into_inner);
                todo.extend(state.homes.first.take());
                todo.extend(state.homes.also.drain(..).map(|(home, _)| home));
                todo.extend(state.given_up_in.take());
            }
        }
    }
}
