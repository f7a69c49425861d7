//! Futures that run at the same time, as parts of one future.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::lock::lock;

/// A set of futures. Each future is polled once at its beginning, and then only when it was woken.
pub(crate) struct Together<'a, T> {
    running: BTreeMap<usize, Running<'a, T>>,
    begun: usize,
    /// The keys of the futures to poll in this poll.
    batch: VecDeque<usize>,
    woken: Arc<Mutex<Woken>>,
}

struct Running<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    waker: Waker,
}

#[derive(Default)]
struct Woken {
    keys: BTreeSet<usize>,
    around: Option<Waker>,
}

struct Key {
    key: usize,
    woken: Arc<Mutex<Woken>>,
}

impl<'a, T> Together<'a, T> {
    pub(crate) fn new() -> Self {
        Self {
            running: BTreeMap::new(),
            begun: 0,
            batch: VecDeque::new(),
            woken: Arc::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// Adds a future, and returns its key: 0, 1, 2 …
    pub(crate) fn begin(&mut self, future: Pin<Box<dyn Future<Output = T> + Send + 'a>>) -> usize {
        let key = self.begun;
        self.begun += 1;
        let woken = Arc::clone(&self.woken);
        let waker = Waker::from(Arc::new(Key { key, woken }));
        self.running.insert(key, Running { future, waker });
        self.batch.push_back(key);
        key
    }

    /// Waits for the next future that ends. Returns `None` if no future is left.
    pub(crate) async fn next(&mut self) -> Option<(usize, T)> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, T)>> {
        // Cloned and dropped without the lock, because a waker may run code of the user.
        let around = cx.waker().clone();
        let before = {
            let mut woken = lock(&self.woken);
            // Taken once per poll: a future that wakes itself while it is polled must wait for the
            // next poll.
            self.batch.extend(mem::take(&mut woken.keys));
            woken.around.replace(around)
        };
        drop(before);
        while let Some(key) = self.batch.pop_front() {
            let Some(running) = self.running.get_mut(&key) else {
                continue;
            };
            let mut cx = Context::from_waker(&running.waker);
            if let Poll::Ready(output) = running.future.as_mut().poll(&mut cx) {
                self.running.remove(&key);
                return Poll::Ready(Some((key, output)));
            }
        }
        if self.running.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl Wake for Key {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut woken = lock(&self.woken);
        woken.keys.insert(self.key);
        let around = woken.around.take();
        drop(woken);
        if let Some(around) = around {
            around.wake();
        }
    }
}
