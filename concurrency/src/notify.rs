use std::collections::BTreeMap;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use shuttle::sync::{Mutex, MutexGuard, PoisonError};

/// `tokio::sync::Notify`, as far as the runtime uses it.
#[derive(Debug)]
pub struct Notify(Mutex<State>);

#[derive(Debug)]
struct State {
    /// How often all waiting futures have been woken.
    wakes: u64,
    /// How many futures have begun to wait. This count makes the keys of `waiting`.
    begun: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl Notify {
    /// Makes a `Notify` for which nobody waits.
    #[must_use]
    pub const fn const_new() -> Self {
        Self(Mutex::new(State {
            wakes: 0,
            begun: 0,
            waiting: BTreeMap::new(),
        }))
    }

    /// Makes a `Notify` for which nobody waits.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "nobody needs it")]
    pub const fn new() -> Self {
        Self::const_new()
    }

    /// Waits for the next wake after this call, not after the first poll.
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            made_at: self.state().wakes,
            key: None,
        }
    }

    /// Wakes all futures that wait now. Futures that come later wait for the next call.
    pub fn notify_waiters(&self) {
        let waiting = {
            let mut state = self.state();
            state.wakes += 1;
            mem::take(&mut state.waiting)
        };
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Notify::notified`].
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    made_at: u64,
    key: Option<u64>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.notify.state();
        if state.wakes != self.made_at {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or(state.begun);
        state.begun = state.begun.max(key + 1);
        state.waiting.insert(key, cx.waker().clone());
        drop(state);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.notify.state().waiting.remove(&key);
            drop(waker);
        }
    }
}
