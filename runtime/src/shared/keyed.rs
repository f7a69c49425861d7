//! A shared context for each key.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::{Inner, Opener, Shared, opener};
use crate::context::AsyncContext;

/// A [`shared`](crate::shared) context for each key. [`keyed`] returns it.
///
/// ```
/// use async_context_manager::{contexts::ready, keyed, prelude::*, Keyed};
/// use std::{convert::Infallible, sync::LazyLock};
///
/// static LENGTHS: LazyLock<Keyed<String, usize, Infallible>> =
///     LazyLock::new(|| keyed(|name: &String| ready(name.len())));
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let length = LENGTHS.at("acme".to_owned()).with(async |length| Ok(**length)).await;
/// assert_eq!(length.unwrap(), 4);
/// # }
/// ```
pub struct Keyed<K, V, E> {
    open: Arc<OpenerOf<K, V, E>>,
    linger: Duration,
    map: Arc<Map<K, V, E>>,
}

type OpenerOf<K, V, E> = dyn Fn(&K) -> Arc<Opener<V, E>> + Send + Sync;

struct Map<K, V, E>(Mutex<HashMap<K, Weak<Inner<V, E>>>>);

/// A [`shared`](crate::shared) context for each key, such as a tenant, a host or a file.
///
/// A key takes no memory once its context is closed and nobody holds that context.
///
/// ```
/// use async_context_manager::{prelude::*, keyed};
/// # use std::{io, sync::{Arc, atomic::{AtomicU32, Ordering::Relaxed}}};
///
/// static OPENED: AtomicU32 = AtomicU32::new(0);
///
/// #[async_context]
/// async fn session(host: Arc<str>) -> io::Result<Arc<str>> {
///     OPENED.fetch_add(1, Relaxed);
///     let (_host, _) = yield_!(host);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let sessions = keyed(|host: &Arc<str>| session(host.clone()));
/// let first = sessions.at("one".into()).guard().await.unwrap();
/// let again = sessions.at("one".into()).guard().await.unwrap();
/// let other = sessions.at("two".into()).guard().await.unwrap();
/// assert_eq!((&***first, &***again, &***other), ("one", "one", "two"));
/// assert_eq!(OPENED.load(Relaxed), 2);
/// # }
/// ```
pub fn keyed<K, C, F>(open: F) -> Keyed<K, C::Value, C::Error>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    F: Fn(&K) -> C + Send + Sync + 'static,
    C: AsyncContext<Value: Sync + 'static, Verdict = ()> + 'static,
{
    let open = Arc::new(open);
    Keyed {
        open: Arc::new(move |key: &K| {
            let (open, key) = (Arc::clone(&open), key.clone());
            opener(move || open(&key))
        }),
        linger: Duration::ZERO,
        map: Arc::new(Map(Mutex::new(HashMap::new()))),
    }
}

impl<K, V, E> Keyed<K, V, E>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Returns the shared context for this key.
    ///
    /// ```
    /// use async_context_manager::{contexts::ready, keyed, prelude::*};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let squares = keyed(|number: &u32| ready::<_, std::io::Error>(number * number));
    /// assert_eq!(squares.at(3).with(async |square| Ok(**square)).await.unwrap(), 9);
    /// # }
    /// ```
    pub fn at(&self, key: K) -> Shared<V, E> {
        let known = |map: &HashMap<K, Weak<_>>| map.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known(&self.map.lock()) {
            return Shared(known);
        }
        let open = (self.open)(&key);
        let forget = {
            let (map, key) = (Arc::downgrade(&self.map), key.clone());
            move || {
                if let Some(map) = map.upgrade() {
                    map.forget(&key);
                }
            }
        };
        let new = Arc::new(Inner::new(open, self.linger, Some(Box::new(forget))));
        let mut map = self.map.lock();
        // Another thread may have added a context meanwhile. Then `new` drops after the lock is
        // free, because the drop of `new` takes the lock.
        if let Some(known) = known(&map) {
            return Shared(known);
        }
        map.insert(key, Arc::downgrade(&new));
        drop(map);
        Shared(new)
    }

    /// Keeps each context that this value makes from now on open for this time after its last use,
    /// as [`Shared::linger`] does. Contexts that exist already, and clones made before, are not
    /// affected.
    ///
    /// ```
    /// use async_context_manager::{contexts::ready, keyed, prelude::*};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let squares = keyed(|number: &u32| ready::<_, std::io::Error>(number * number))
    ///     .linger(Duration::from_secs(60));
    /// assert_eq!(squares.at(3).with(async |square| Ok(**square)).await.unwrap(), 9);
    /// # }
    /// ```
    #[must_use = "it gives the same map"]
    pub fn linger(self, time: Duration) -> Self {
        Self {
            linger: time,
            ..self
        }
    }
}

impl<K: Eq + Hash, V, E> Map<K, V, E> {
    /// Removes the key, unless a new context has taken its place.
    fn forget(&self, key: &K) {
        let mut map = self.lock();
        let forgotten = match map.get(key) {
            Some(known) if known.strong_count() == 0 => map.remove_entry(key),
            Some(_) | None => None,
        };
        drop(map);
        // Dropped without the lock: the key is the user's.
        drop(forgotten);
    }
}

impl<K, V, E> Map<K, V, E> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Weak<Inner<V, E>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V, E> Clone for Keyed<K, V, E> {
    fn clone(&self) -> Self {
        Self {
            open: Arc::clone(&self.open),
            linger: self.linger,
            map: Arc::clone(&self.map),
        }
    }
}

impl<K, V, E> fmt::Debug for Keyed<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").finish_non_exhaustive()
    }
}
