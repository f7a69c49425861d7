//! A context that has been given up, as those that wait for it see it.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::age::Age;
use super::list::List;
use super::node::Node;

/// A context from when it is given up until it has ended.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) node: Arc<Node>,
    /// The list of the code that has given it up, if that keeps one.
    pub(super) list: Option<Arc<List>>,
    /// Where it stands in that list, whose lock guards it.
    pub(super) slot: AtomicUsize,
    /// Its age, for those that the same code gives up.
    pub(super) age: Age,
    /// How it is seen by others, once the code that gave it up has ended: its age, and its first home then.
    seen: Mutex<(Age, Option<Arc<Node>>)>,
    state: AtomicU8,
    end: Notify,
}

/// It runs.
const RUNNING: u8 = 0;
/// It runs, and nobody waits for it any more: rule e.
const LET_GO: u8 = 1;
const ENDED: u8 = 2;

impl Entry {
    pub(super) fn new(name: &'static str, node: Arc<Node>, list: Option<Arc<List>>) -> Arc<Self> {
        let (age, homes) = node.where_it_is();
        Arc::new(Self {
            name,
            node,
            list,
            slot: AtomicUsize::new(0),
            age,
            seen: Mutex::new((age, homes.first)),
            state: AtomicU8::new(RUNNING),
            end: Notify::new(),
        })
    }

    /// Does this guard, which is being given up, wait for `other` (rule c)? The other one was given up
    /// before, by the same code or, where `by_an_exit`, by an exit that this code has given up.
    pub(super) fn waits_for(&self, other: &Arc<Self>, by_an_exit: bool) -> bool {
        let age = if by_an_exit {
            other.seen_age()
        } else {
            other.age
        };
        age > self.age && other.is_running() && other.node.is_inside_of_all_that(&self.node)
    }

    fn seen_age(&self) -> Age {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The exit of `outer`, whose code has given this one up, has ended. Seen from around it, what was
    /// opened in it has its age: rule d.
    pub(super) fn leave(&self, outer: &Self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut age, mut home) = seen.clone();
        while let Some(node) = home {
            if Arc::ptr_eq(&node, &outer.node) {
                let outer = outer.seen.lock().unwrap_or_else(PoisonError::into_inner);
                *seen = (age.inside_of(outer.0), outer.1.clone());
                return;
            }
            if !node.has_ended() {
                return;
            }
            let (outer_age, homes) = node.where_it_is();
            age = age.inside_of(outer_age);
            home = homes.first;
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.load(Ordering::Acquire) == RUNNING
    }

    /// Nobody waits for it any more. `true` if it runs.
    pub(super) fn let_go(&self) -> bool {
        let change =
            self.state
                .compare_exchange(RUNNING, LET_GO, Ordering::AcqRel, Ordering::Acquire);
        self.end.notify_waiters();
        change.is_ok()
    }

    pub(super) fn end(&self) {
        self.state.store(ENDED, Ordering::Release);
        self.end.notify_waiters();
    }

    /// Waits until nobody has to wait for it any more.
    pub(super) async fn over(&self) {
        // Made before the look: an end after the look wakes it.
        let end = self.end.notified();
        if self.is_running() {
            end.await;
        }
    }

    pub(super) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed)
    }
}
