//! A context that has been given up, as the contexts that wait for it see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::age::Number;
use super::list::List;
use super::node::Node;

/// A context, from when it is given up until it has ended.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) node: Arc<Node>,
    pub(super) number: Number,
    /// The list of the code that gave the context up, if that code keeps a list.
    pub(super) list: Option<Arc<List>>,
    /// The position in that list. The lock of the list guards the position.
    slot: AtomicUsize,
    /// `true` once nobody waits for the context any more, because it has ended or was let go (rule
    /// e).
    is_over: AtomicBool,
    /// `true` if a time limit gave up the context's enter. An enter that fails does not wait for
    /// such a context.
    is_late: AtomicBool,
    /// Wakes the contexts that wait for this one, so that they look again.
    change: Notify,
}

impl Entry {
    pub(super) fn new(
        name: &'static str,
        node: Arc<Node>,
        number: Number,
        list: Option<Arc<List>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            node,
            number,
            list,
            slot: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
            change: Notify::new(),
        })
    }

    /// Returns `true` if this guard, which is being given up, waits for `other` (rule c). The
    /// caller must know that the same code, or an exit that this code gave up or awaited, has given
    /// `other` up before.
    pub(super) fn waits_for(&self, other: &Self) -> bool {
        !other.is_over() && (other.node).is_beside_and_younger_than(&self.node, self.number)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub(super) fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Acquire)
    }

    pub(super) fn be_late(&self) {
        self.is_late.store(true, Ordering::Release);
    }

    /// Records that nobody waits for the context any more. Returns `true` if others could wait for
    /// it before.
    pub(super) fn be_over(&self) -> bool {
        !self.is_over.swap(true, Ordering::AcqRel)
    }

    pub(super) fn tell(&self) {
        self.change.notify_waiters();
    }

    /// Waits for the next change of this entry, unless the waiter no longer waits for this entry.
    pub(super) async fn change_unless(&self, is_outdated: impl FnOnce() -> bool) {
        // Created before the check: otherwise a change between the check and the wait would be
        // missed.
        let change = self.change.notified();
        if !is_outdated() {
            change.await;
        }
    }

    pub(super) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed)
    }

    pub(super) fn set_slot(&self, slot: usize) {
        self.slot.store(slot, Ordering::Relaxed);
    }
}
