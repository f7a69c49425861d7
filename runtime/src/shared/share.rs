//! The value that the body of a user borrows.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::generation::Ending;

/// A share in the value of a [`shared`](crate::shared) context. It dereferences to the value.
///
/// The body of each user borrows a share of its own. The context is open as long as a share exists.
///
/// ```
/// use async_context_manager::{contexts::ready, prelude::*, shared, Share};
/// use std::{convert::Infallible, sync::Mutex};
///
/// async fn push(list: &mut Share<Mutex<Vec<u32>>, Infallible>) -> usize {
///     let mut list = list.lock().unwrap();
///     list.push(1);
///     list.len()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let list = shared(|| ready(Mutex::new(Vec::new())));
/// assert_eq!(list.with(async |list| Ok(push(list).await)).await.unwrap(), 1);
/// # }
/// ```
///
/// # Drop
///
/// A share that is moved out of its body and dropped counts as a user that leaves. If that user was
/// the last one, the exit runs in the background.
//
// This struct has no bounds. With a bound `'static`, the compiler could not infer that a future
// with a share in it is `Send`, if the value's type has a lifetime.
pub struct Share<V, E> {
    /// `None` once its user has left.
    value: Option<Arc<V>>,
    generation: Arc<dyn Shareable<V, E>>,
}

/// The generation that a share is from, without the bounds of its types.
pub(super) trait Shareable<V, E>: Send + Sync {
    /// Counts a user as gone. Returns the context, if it must be exited now.
    #[must_use]
    fn leave(self: Arc<Self>, value: Arc<V>) -> Option<Ending<V, E>>;
}

impl<V, E> Share<V, E> {
    pub(super) fn new(value: Arc<V>, generation: Arc<dyn Shareable<V, E>>) -> Self {
        Self {
            value: Some(value),
            generation,
        }
    }

    fn give_back(&mut self) -> Option<Ending<V, E>> {
        let value = self.value.take()?;
        Arc::clone(&self.generation).leave(value)
    }
}

impl<V, E> Share<V, E>
where
    V: Send,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Leaves the context. The last user exits it.
    pub(super) async fn leave(mut self) -> Result<(), Arc<E>> {
        match self.give_back() {
            Some(ending) => ending.exit().await.map_err(Arc::new),
            None => Ok(()),
        }
    }

    /// Leaves the context. An error of its exit is reported.
    pub(super) async fn leave_reporting(mut self) {
        if let Some(ending) = self.give_back() {
            ending.exit_reporting().await;
        }
    }
}

impl<V, E> Deref for Share<V, E> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value
            .as_ref()
            .expect("only the end of the use and the drop take it")
    }
}

impl<V, E> Drop for Share<V, E> {
    fn drop(&mut self) {
        drop(self.give_back());
    }
}

impl<V: fmt::Debug, E> fmt::Debug for Share<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Share").field(&**self).finish()
    }
}
