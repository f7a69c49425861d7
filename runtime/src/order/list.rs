//! The contexts that one piece of code has given up, in order (rule c).
//!
//! A guard waits for the younger contexts before it in the list. Younger contexts have greater
//! numbers. For each stretch of the list, a tree has the greatest number in that stretch, as in a
//! tournament. So the list finds the next younger context in logarithmic time.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::age::Number;
use super::entry::Entry;
use super::here::Root;

/// The lists of the tasks that have given up contexts which still run.
static ROOTS: LazyLock<[Mutex<Tasks>; 16]> = LazyLock::new(Default::default);

type Tasks = HashMap<Root, Arc<List>, RandomNumbers>;

/// The number of lists. While it is 0, no guard has neighbours to wait for, and no lock is taken.
static LISTS: AtomicUsize = AtomicUsize::new(0);

/// The contexts that one exit, or one task outside all exits, has given up and that still run. The
/// list lives as long as one of its entries, even if the exit has ended.
///
/// Locks are taken in this order: a list, a list in one of its slots, and nodes.
#[derive(Debug)]
pub(super) struct List {
    /// `None` for an exit.
    root: Option<Root>,
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    all: Vec<Slot>,
    /// The greatest number of each stretch. Stretch 1 is the whole list, and the halves of `n` are
    /// `2n` and `2n + 1`.
    numbers: Vec<Number>,
    /// The number of slots that are not empty.
    taken: usize,
    /// `Some` once the exit that owns this list has ended: the entry of that exit, in the list of
    /// the code that gave the exit up or awaited it. There, this list counts in place of the entry.
    stands_at: Option<Arc<Entry>>,
}

#[derive(Debug)]
enum Slot {
    Empty,
    /// A guard that is being closed, and waits for entries before it. Others do not wait for it.
    Awaited(Arc<Entry>),
    /// A context that ends in the background.
    Detached(Arc<Entry>),
    /// The entry of an exit that has ended, and the list of the contexts that it has left behind.
    Left(Arc<Entry>, Arc<List>),
}

/// Up to this number, slots are searched one by one, without a tree.
const FEW: usize = 8;

impl Slot {
    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Empty => None,
            Self::Awaited(entry) | Self::Detached(entry) | Self::Left(entry, _) => Some(entry),
        }
    }

    /// Returns the greatest number of the entries here that others may wait for.
    fn number(&self) -> Number {
        match self {
            Self::Empty | Self::Awaited(_) => Number::NONE,
            Self::Detached(entry) => entry.number,
            Self::Left(_, left) => left.youngest(),
        }
    }
}

impl List {
    pub(super) fn new(root: Option<Root>) -> Arc<Self> {
        LISTS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            root,
            slots: Mutex::new(Slots {
                all: Vec::new(),
                numbers: Vec::new(),
                taken: 0,
                stands_at: None,
            }),
        })
    }

    /// Returns `true` if any list exists. Code that has a list always gets `true`, on whatever
    /// thread it runs.
    pub(super) fn is_there() -> bool {
        LISTS.load(Ordering::Relaxed) != 0
    }

    /// Calls `look` with the list of a task, if the task has a list.
    pub(super) fn of_task<T>(root: Root, look: impl FnOnce(&Arc<Self>) -> T) -> Option<T> {
        let mut lists = shard(root);
        let list = lists.get(&root).cloned()?;
        let looked = look(&list);
        list.leave_task_if_empty(root, &mut lists);
        Some(looked)
    }

    fn leave_task_if_empty(&self, root: Root, lists: &mut Tasks) {
        let is_listed = lists
            .get(&root)
            .is_some_and(|list| std::ptr::eq(&raw const **list, self));
        if is_listed && self.is_empty() {
            lists.remove(&root);
        }
    }

    /// Calls `add` with the list of a task, which is made first if it does not exist.
    pub(super) fn at_task<T>(root: Root, add: impl FnOnce(&Arc<Self>) -> T) -> T {
        let mut lists = shard(root);
        add(lists.entry(root).or_insert_with(|| Self::new(Some(root))))
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().taken == 0
    }

    /// Adds a guard that is being closed, after all entries.
    pub(super) fn add_awaited(&self, entry: &Arc<Entry>) {
        self.lock()
            .push(entry, Slot::Awaited(Arc::clone(entry)), Number::NONE);
    }

    pub(super) fn add_detached(&self, entry: &Arc<Entry>) {
        self.lock()
            .push(entry, Slot::Detached(Arc::clone(entry)), entry.number);
    }

    /// Adds the list of the contexts that an awaited exit has left behind.
    pub(super) fn add_left(&self, entry: &Arc<Entry>, left: &Arc<Self>) {
        let slot = Slot::Left(Arc::clone(entry), Arc::clone(left));
        self.lock().push(entry, slot, left.youngest());
        left.stand_at(entry);
    }

    /// Records that the caller of a guard that is being closed has gone away.
    pub(super) fn detach(&self, entry: &Arc<Entry>) {
        let mut slots = self.lock();
        slots.set(
            entry.slot(),
            Slot::Detached(Arc::clone(entry)),
            entry.number,
        );
    }

    /// Returns an entry before `waiter` that `waiter` waits for.
    pub(super) fn blocker(&self, waiter: &Entry) -> Option<Arc<Entry>> {
        let slots = self.lock();
        slots.blocker(waiter.slot(), waiter)
    }

    /// Returns an entry that still runs.
    pub(super) fn any(&self) -> Option<Arc<Entry>> {
        self.lock().any()
    }

    /// Returns the greatest number in the list.
    fn youngest(&self) -> Number {
        let slots = self.lock();
        let numbers = slots.all.iter().map(Slot::number);
        let of_few = || numbers.max().unwrap_or(Number::NONE);
        slots.numbers.get(1).copied().unwrap_or_else(of_few)
    }

    /// Notes `exit`, the entry of the exit that has left this list behind. The caller must have put
    /// this list into the slot of `exit` before. From now on, [`replace`](Self::replace) may put
    /// another list into that slot.
    fn stand_at(&self, exit: &Arc<Entry>) {
        self.lock().stands_at = Some(Arc::clone(exit));
    }

    /// Records that the exit of the entry has ended, and has left the contexts in `left` behind.
    pub(super) fn end(&self, entry: &Arc<Entry>, left: Option<&Arc<Self>>) {
        match left {
            Some(left) => self.replace(entry, left),
            None => self.remove(entry),
        }
    }

    fn replace(&self, entry: &Arc<Entry>, left: &Arc<Self>) {
        let youngest = left.youngest();
        let mut slots = self.lock();
        if !slots.has(entry) {
            return;
        }
        // If each exit in a chain leaves only the next exit behind, only the list of the last exit
        // is kept.
        let alone = slots.stands_at.clone().filter(|_| slots.taken == 1);
        if let Some((list, around)) = alone.and_then(|around| Some((around.list.clone()?, around)))
        {
            drop(slots);
            list.lock().put_left(&around, left, youngest);
            left.stand_at(&around);
            let mut slots = self.lock();
            slots.set(entry.slot(), Slot::Empty, Number::NONE);
            slots.stands_at = None;
            drop(slots);
            list.remove_if_empty(&around, left);
            return;
        }
        slots.put_left(entry, left, youngest);
        drop(slots);
        left.stand_at(entry);
        self.remove_if_empty(entry, left);
    }

    /// Removes the entry if the list `left` is empty by now. If another list has taken the place of
    /// `left` in the slot meanwhile (see [`replace`](Self::replace)), the entry stays.
    pub(super) fn remove_if_empty(&self, entry: &Arc<Entry>, left: &Self) {
        if left.leave_if_empty() && self.lock().has_left(entry, left) {
            self.remove(entry);
        }
    }

    /// Returns `true` if the list is empty. An empty list must not refer to the entry that it
    /// stands for, because the entry holds its node, which holds the list.
    fn leave_if_empty(&self) -> bool {
        let mut slots = self.lock();
        let is_empty = slots.taken == 0;
        if is_empty {
            slots.stands_at = None;
        }
        is_empty
    }

    /// Removes a guard that has just been added, and has nothing to wait for.
    pub(super) fn withdraw(&self, entry: &Entry) {
        self.lock().set(entry.slot(), Slot::Empty, Number::NONE);
    }

    pub(super) fn remove(&self, entry: &Arc<Entry>) {
        let around = {
            let mut slots = self.lock();
            if !slots.has(entry) {
                return;
            }
            slots.set(entry.slot(), Slot::Empty, Number::NONE);
            if slots.taken > 0 {
                return;
            }
            // Taken, because the entry holds its node, which holds this list.
            slots.stands_at.take()
        };
        if let Some(root) = self.root {
            return self.leave_task_if_empty(root, &mut shard(root));
        }
        if let Some(around) = around {
            if let Some(list) = &around.list {
                list.remove(&around);
            }
        }
    }
}

impl Slots {
    /// Adds a slot at the end, and makes room for it.
    fn push(&mut self, entry: &Entry, slot: Slot, number: Number) {
        if self.all.len() == self.room() {
            self.tidy();
        }
        entry.set_slot(self.all.len());
        self.all.push(Slot::Empty);
        self.set(entry.slot(), slot, number);
    }

    /// Returns `true` if the entry still stands here. An entry that was let go has left the list
    /// before it ends.
    fn has(&self, entry: &Arc<Entry>) -> bool {
        let there = self.all.get(entry.slot()).and_then(Slot::entry);
        there.is_some_and(|there| std::ptr::eq(there, &raw const **entry))
    }

    /// Lets the list stand here for the entry, unless the entry has been let go.
    fn put_left(&mut self, entry: &Arc<Entry>, left: &Arc<List>, youngest: Number) {
        if self.has(entry) {
            let slot = Slot::Left(Arc::clone(entry), Arc::clone(left));
            self.set(entry.slot(), slot, youngest);
        }
    }

    /// Returns `true` if the list stands here for the entry.
    fn has_left(&self, entry: &Arc<Entry>, left: &List) -> bool {
        let there = self.all.get(entry.slot());
        self.has(entry)
            && matches!(there, Some(Slot::Left(_, there)) if std::ptr::eq(&raw const **there, left))
    }

    /// Returns how many slots the list can have before [`tidy`](Self::tidy) must make room.
    fn room(&self) -> usize {
        (self.numbers.len() / 2).max(FEW)
    }

    /// Removes the empty slots. Doubles the room if the other slots need more than half of it.
    fn tidy(&mut self) {
        let room = self.room();
        self.all.retain(|slot| !matches!(slot, Slot::Empty));
        let is_full = self.all.len() * 2 > room;
        let room = if is_full { room * 2 } else { room };
        self.numbers = vec![Number::NONE; room * 2];
        for (index, slot) in self.all.iter().enumerate() {
            if let Some(entry) = slot.entry() {
                entry.set_slot(index);
            }
            self.numbers[room + index] = slot.number();
        }
        for index in (1..room).rev() {
            self.numbers[index] = self.numbers[2 * index].max(self.numbers[2 * index + 1]);
        }
    }

    fn set(&mut self, index: usize, slot: Slot, number: Number) {
        let Some(place) = self.all.get_mut(index) else {
            return;
        };
        let was_taken = !matches!(place, Slot::Empty);
        let is_taken = !matches!(slot, Slot::Empty);
        *place = slot;
        self.taken = self.taken + usize::from(is_taken) - usize::from(was_taken);
        if self.numbers.is_empty() {
            return;
        }
        let mut index = self.numbers.len() / 2 + index;
        self.numbers[index] = number;
        while index > 1 {
            index /= 2;
            let greatest = self.numbers[2 * index].max(self.numbers[2 * index + 1]);
            if self.numbers[index] == greatest {
                return;
            }
            self.numbers[index] = greatest;
        }
    }

    /// Returns the last slot before `before` with a greater number than `number`.
    fn last_younger(&self, before: usize, number: Number) -> Option<usize> {
        let before = before.min(self.all.len());
        if self.numbers.is_empty() {
            let mut slots = self.all[..before].iter();
            return slots.rposition(|slot| slot.number() > number);
        }
        let half = self.numbers.len() / 2;
        if self.numbers[1] <= number {
            return None;
        }
        // Goes through the stretches before `before`, starting with the nearest.
        let mut stretch = half + before;
        if before == half {
            stretch = 1;
        } else {
            loop {
                stretch >>= stretch.trailing_zeros();
                if stretch == 1 {
                    return None;
                }
                stretch -= 1;
                if self.numbers[stretch] > number {
                    break;
                }
            }
        }
        while stretch < half {
            stretch = 2 * stretch + usize::from(self.numbers[2 * stretch + 1] > number);
        }
        Some(stretch - half)
    }

    fn blocker(&self, before: usize, waiter: &Entry) -> Option<Arc<Entry>> {
        let mut before = before;
        while let Some(index) = self.last_younger(before, waiter.number) {
            let found = match &self.all[index] {
                Slot::Detached(entry) => waiter.waits_for(entry).then(|| Arc::clone(entry)),
                Slot::Left(_, left) => left.lock().blocker(usize::MAX, waiter),
                Slot::Awaited(_) | Slot::Empty => None,
            };
            if found.is_some() {
                return found;
            }
            before = index;
        }
        None
    }

    fn any(&self) -> Option<Arc<Entry>> {
        let mut before = self.all.len();
        while let Some(index) = self.last_younger(before, Number::NONE) {
            let found = match &self.all[index] {
                Slot::Detached(entry) => (!entry.is_over()).then(|| Arc::clone(entry)),
                Slot::Left(_, left) => left.any(),
                Slot::Awaited(_) | Slot::Empty => None,
            };
            if found.is_some() {
                return found;
            }
            before = index;
        }
        None
    }
}

impl Drop for List {
    fn drop(&mut self) {
        LISTS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn shard(root: Root) -> MutexGuard<'static, Tasks> {
    let shard = RandomNumbers::default().hash_one(root) >> 60;
    let shard = usize::try_from(shard).unwrap_or(0);
    ROOTS[shard].lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ids of tasks are consecutive numbers, which one multiplication spreads.
type RandomNumbers = BuildHasherDefault<Spread>;

#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.unsigned_abs() as u64);
    }
}
