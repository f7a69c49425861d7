//! A lock in this process whose changes count only if the body completes.
//!
//! Use it for several values that fit together only after the last of several changes. With the
//! guard of a plain `tokio::sync::Mutex`, a caller that fails, panics or goes away between two
//! changes leaves the value half changed, and the next caller gets it like that. Here the body
//! changes a copy. Waiting for the lock is a place in a queue: a caller may leave it at any time.

use std::fmt::Debug;
use std::sync::Arc;

use async_context_manager::prelude::*;
use tokio::sync::Mutex;

#[async_context]
async fn exclusive<T, E>(lock: Arc<Mutex<T>>) -> Result<T, E>
where
    T: Clone + Send + 'static,
    E: Debug + Send + Sync + 'static,
{
    let mut value = cancellable!(lock.lock_owned()).await;
    let copy = value.clone();
    let (copy, outcome) = yield_!(copy);
    if outcome.is_completed() {
        *value = copy;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_context_manager::detached;
    use futures::FutureExt as _;
    use tokio::task::yield_now;

    use super::*;

    /// Moves one from the first account to the second, with a wait in between.
    async fn transfer(accounts: &mut [u32; 2]) -> Result<(), &'static str> {
        accounts[1] += 1;
        yield_now().await;
        accounts[0] = accounts[0].checked_sub(1).ok_or("there is no money")?;
        Ok(())
    }

    #[tokio::test]
    async fn nobody_gets_a_value_that_is_half_changed() {
        let accounts = Arc::new(Mutex::new([1, 0]));
        let given_up = exclusive(accounts.clone()).with(transfer);
        assert!(given_up.now_or_never().is_none());
        detached::drain().await;
        assert_eq!(*accounts.lock().await, [1, 0]);

        assert_eq!(exclusive(accounts.clone()).with(transfer).await, Ok(()));
        assert_eq!(*accounts.lock().await, [0, 1]);

        let failed = exclusive(accounts.clone()).with(transfer).await;
        assert_eq!(failed, Err("there is no money"));
        assert_eq!(*accounts.lock().await, [0, 1]);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_in_the_queue_leaves_it_at_once() {
        let accounts = Arc::new(Mutex::new([1, 0]));
        let held = accounts.lock().await;
        let waiting = exclusive(accounts.clone()).with(transfer);
        assert!(waiting.now_or_never().is_none());
        assert_eq!(Arc::strong_count(&accounts), 1);
        drop(held);
    }
}
