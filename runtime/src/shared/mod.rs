//! Contexts that many users share: the first user opens, the last one exits.
//!
//! A [`Shared`] has one current [`Generation`] at a time. A generation that was replaced goes on
//! until its last user has left.

mod generation;
mod keyed;
mod linger;
mod share;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::context::AsyncContext;
use crate::generator::generator;
use crate::lender::Lender;
use crate::order::{self, Kind as Hold};
use crate::outcome::Outcome;
use crate::scope::Live;

use generation::{Context, Generation, Joined, Make, Signal};
pub use keyed::{Keyed, keyed};
pub use share::Share;

/// A context that many users share. [`shared`], [`swappable`], and [`Keyed::at`] return this type.
///
/// It is a context like any other, for [`with`](crate::AsyncContextExt::with), guards and stacks.
/// Clones share the same context, are cheap, and may be kept anywhere: in the state of a server, in
/// tasks, in a `static`. You can write the type down, because it does not contain the type of the
/// context.
///
/// ```
/// use async_context_manager::{contexts::ready, prelude::*, shared, Shared};
/// use std::{convert::Infallible, sync::LazyLock};
///
/// static NUMBER: LazyLock<Shared<u32, Infallible>> = LazyLock::new(|| shared(|| ready(42)));
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let number = NUMBER.clone().with(async |number| Ok(**number)).await;
/// assert_eq!(number.unwrap(), 42);
/// # }
/// ```
pub struct Shared<V, E>(Arc<Inner<V, E>>);

pub(crate) struct Inner<V, E> {
    state: Mutex<State<V, E>>,
    /// A function pointer, chosen where value and error are known to be `'static`. A bound
    /// `'static` on the context would have a price: if the value's type has a lifetime, the
    /// compiler could not infer that a future with a guard of this context is `Send`.
    join: fn(Arc<Self>) -> Joining<V, E>,
    /// Removes this context from the map of a [`Keyed`], if it is in one.
    forget: Option<Box<dyn Fn() + Send + Sync>>,
}

type Joining<V, E> = Pin<Box<dyn Future<Output = Result<Share<V, E>, Arc<E>>> + Send>>;

struct State<V, E> {
    open: Arc<Opener<V, E>>,
    linger: Duration,
    current: Option<Arc<Generation<V, E>>>,
}

/// Makes the context of each generation.
type Opener<V, E> = dyn Fn(Signal<V, E>) -> Context<V, E> + Send + Sync;

/// A context that its first user opens, and its last user exits.
///
/// The first user calls `open`, and enters the context that `open` returns. Users that come during
/// the enter wait for its end, and users that come later use the open context. The body of each
/// user borrows a [`Share`], which dereferences to the value, so the value must be `Sync`. The last
/// user that leaves exits the context, and awaits the exit. Users that come during that exit wait
/// for its end, and then open a new context. So two contexts are never open at the same time.
///
/// With [`linger`](Shared::linger), the context stays open for a while after its last use.
/// [`replace`](Shared::replace) opens another context in its place. [`keyed`] shares one context
/// for each key.
///
/// ```
/// use async_context_manager::{prelude::*, shared};
/// # use std::{io, sync::atomic::{AtomicU32, Ordering::Relaxed}};
/// # static OPENED: AtomicU32 = AtomicU32::new(0);
///
/// #[async_context]
/// async fn pool(url: String) -> io::Result<String> {
/// #   OPENED.fetch_add(1, Relaxed);
///     println!("open {url}");
///     let (url, _) = yield_!(url);
///     println!("close {url}");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let pool = shared(|| pool("localhost".to_owned()));
/// let handlers = ["one", "two"].map(|name| {
///     let pool = pool.clone();
///     tokio::spawn(pool.with(async move |url| Ok(println!("{name} uses {}", **url))))
/// });
/// for handler in handlers {
///     handler.await.unwrap().unwrap();
/// }
/// # assert!(OPENED.load(Relaxed) >= 1);
/// # }
/// ```
///
/// # Errors
///
/// If an enter fails, all users that have waited for it get its error. Therefore the error of a
/// shared context is an [`Arc`]; a `?` in a body makes such an `Arc`. Users that come later try
/// again. The last user awaits the exit, and gets its error.
///
/// A future [beside](crate::guide::beside) the body of the context runs in a task, because that
/// body is not the body of any user. Its error ends no user's body: the error is
/// [reported](crate::report::Kind::BesideFailed) when the context exits.
///
/// # Panics
///
/// If `open`, the enter or the exit panics. A panic of `open` or of the enter goes to the user that
/// opens, and the users that wait try again. A panic of the exit goes to the last user.
///
/// # What the exit sees
///
/// The exit sees [`Completed`](Outcome::Completed), however the body of the last user ended: the
/// users share the context, and not their failures. If all users had gone before the context was
/// open, the exit sees [`Cancelled`](Outcome::Cancelled).
///
/// # Cancel safety
///
/// A waiting user that is dropped is gone at once. If the user that opens is dropped, a waiting
/// user continues the enter. If nobody waits, the enter goes on in the background, and the context
/// exits as soon as it is open. A user that is dropped in the body leaves in the background, as
/// from any other context. If the future of a user that opens, or awaits the exit, is neither
/// polled nor dropped, all waiting users are held up, as with a lock.
///
/// # Order
///
/// A shared context is [independent](crate::AsyncContextExt::independent): it belongs to all its
/// users, so no context around a user waits for it. Only the last user waits for the exit of the
/// shared context, when that user's own use exits. The enter and exit of a shared context must
/// neither use the context itself nor wait for a user of it.
pub fn shared<C, F>(open: F) -> Shared<C::Value, C::Error>
where
    F: Fn() -> C + Send + Sync + 'static,
    C: AsyncContext<Value: Sync + 'static, Verdict = ()> + 'static, // its users share the value: put a lock into it
{
    Shared(Arc::new(Inner::new(opener(open), Duration::ZERO, None)))
}

/// A context that is replaced while others use it: a configuration, a certificate, a pool.
///
/// It is a [`shared`] context that stays open between its uses until it is replaced or
/// [drained](crate::detached::drain). [`replace`](Shared::replace) opens another context for new
/// uses. The old context exits when its last use is over.
///
/// ```
/// use async_context_manager::{detached, prelude::*, swappable};
/// # use std::{io, sync::Mutex};
/// # static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());
///
/// #[async_context]
/// async fn pool(url: &'static str) -> io::Result<&'static str> {
///     let (url, _) = yield_!(url);
///     LOG.lock().unwrap().push(format!("closed {url}"));
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let pools = swappable(|| pool("old"));
/// let old = pools.clone().guard().await.unwrap();
/// pools.replace(|| pool("new")).await.unwrap();
/// let new = pools.clone().guard().await.unwrap();
/// assert_eq!((**old, **new), ("old", "new"));
///
/// Guard::close(old).await.unwrap(); // its last use: it is closed here
/// assert_eq!(*LOG.lock().unwrap(), ["closed old"]);
/// Guard::close(new).await.unwrap(); // it stays open, for the next use
/// detached::drain().await;
/// assert_eq!(*LOG.lock().unwrap(), ["closed old", "closed new"]);
/// # }
/// ```
pub fn swappable<C, F>(open: F) -> Shared<C::Value, C::Error>
where
    F: Fn() -> C + Send + Sync + 'static,
    C: AsyncContext<Value: Sync + 'static, Verdict = ()> + 'static,
{
    shared(open).linger(Duration::MAX)
}

/// Returns a function that makes the contexts. No context around a user waits for them.
fn opener<C>(open: impl Fn() -> C + Send + Sync + 'static) -> Arc<Opener<C::Value, C::Error>>
where
    C: AsyncContext<Value: Sync + 'static, Verdict = ()> + 'static,
{
    Arc::new(move |signal| {
        let context = open();
        let name = context.__name();
        let context = generator(name, async move |lender| {
            let _signal = signal;
            let is_alone = order::make_independent();
            assert!(
                is_alone,
                "the context `{name}` is shared, and can't be inside of a guard"
            );
            context.__coroutine(lender).await
        });
        Live::new(context, Hold::Guard)
    })
}

impl<V, E> Inner<V, E> {
    fn state(&self) -> MutexGuard<'_, State<V, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V, E> Inner<V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn new(
        open: Arc<Opener<V, E>>,
        linger: Duration,
        forget: Option<Box<dyn Fn() + Send + Sync>>,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                open,
                linger,
                current: None,
            }),
            join: |inner| Box::pin(Self::join(inner)),
            forget,
        }
    }

    async fn join(self: Arc<Self>) -> Result<Share<V, E>, Arc<E>> {
        loop {
            match self.current().join(&self).await {
                Joined::Share(share) => return Ok(share),
                Joined::Failed(error) => return Err(error),
                Joined::Over => {}
            }
        }
    }

    fn current(&self) -> Arc<Generation<V, E>> {
        let mut state = self.state();
        let linger = state.linger;
        if let Some(current) = state.current.as_ref().filter(|current| !current.is_over()) {
            return Arc::clone(current);
        }
        let new = Generation::new(make(&state.open), linger);
        let old = state.current.replace(Arc::clone(&new));
        drop(state);
        // `old` drops without the lock, because it may hold the last reference to an error of the
        // user.
        drop(old);
        new
    }
}

/// Returns the function that opens one generation.
fn make<V: 'static, E: 'static>(open: &Arc<Opener<V, E>>) -> Box<Make<V, E>> {
    let open = Arc::clone(open);
    Box::new(move |signal| open(signal))
}

impl<V, E> Drop for Inner<V, E> {
    fn drop(&mut self) {
        if let Some(forget) = &self.forget {
            forget();
        }
    }
}

impl<V, E> Shared<V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Keeps the context open for this time after its last use. Use it for a context that is costly
    /// to open.
    ///
    /// The setting holds for all clones, from the next opening on. When the time is over, the exit
    /// runs in the background, and its error is [reported](crate::report).
    /// [`drain`](crate::detached::drain) closes lingering contexts at once. So does the shutdown of
    /// the runtime on which the timer runs. The timer starts on the runtime of the last user,
    /// unless an earlier user's timer still runs.
    ///
    /// ```
    /// use async_context_manager::{prelude::*, shared};
    /// # use std::{convert::Infallible, sync::atomic::{AtomicU32, Ordering::Relaxed}};
    /// use tokio::time::{Duration, sleep};
    ///
    /// static OPENED: AtomicU32 = AtomicU32::new(0);
    ///
    /// #[async_context]
    /// async fn session() -> Result<u32, Infallible> {
    ///     let (_, _) = yield_!(OPENED.fetch_add(1, Relaxed));
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let session = shared(session).linger(Duration::from_secs(60));
    /// for (pause, opened) in [(0, 1), (59, 1), (59, 1), (61, 2)] {
    ///     sleep(Duration::from_secs(pause)).await;
    ///     session.clone().with(async |_| Ok(())).await.unwrap();
    ///     assert_eq!(OPENED.load(Relaxed), opened);
    /// }
    /// # }
    /// ```
    #[must_use = "it gives the same shared context"]
    pub fn linger(self, time: Duration) -> Self {
        self.0.state().linger = time;
        self
    }

    /// Opens another context, and replaces the current one with it.
    ///
    /// Uses that begin after the new context has opened get it. Contexts that are opened later are
    /// made by `open` as well. The last user of the old context exits it. If the old context has no
    /// user, `replace` exits it before it returns.
    ///
    /// ```
    /// use async_context_manager::{prelude::*, swappable};
    ///
    /// #[async_context]
    /// async fn certificate(text: &'static str) -> Result<&'static str, &'static str> {
    ///     if text.is_empty() {
    ///         return Err("an empty certificate");
    ///     }
    ///     let (_, _) = yield_!(text);
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let certificates = swappable(|| certificate("first"));
    /// let now = || certificates.clone().with(async |text| Ok(**text));
    /// assert_eq!(now().await.unwrap(), "first");
    /// certificates.replace(|| certificate("second")).await.unwrap();
    /// assert_eq!(now().await.unwrap(), "second");
    ///
    /// assert!(certificates.replace(|| certificate("")).await.is_err());
    /// assert_eq!(now().await.unwrap(), "second"); // it stays
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the new context's enter. The old context then stays in use. An error of an exit
    /// is [reported](crate::report).
    ///
    /// # Panics
    ///
    /// If `open`, the new enter, or an exit panics.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before the new context is open, nothing is replaced, and the new
    /// context exits in the background. If it is dropped after that, the old context's exit goes on
    /// in the background.
    pub async fn replace<C, F>(&self, open: F) -> Result<(), Arc<E>>
    where
        F: Fn() -> C + Send + Sync + 'static,
        C: AsyncContext<Value = V, Error = E, Verdict = ()> + 'static,
    {
        let open: Arc<Opener<V, E>> = opener(open);
        let new = Generation::new(make(&open), self.0.state().linger);
        let share = match new.join(&self.0).await {
            Joined::Share(share) => share,
            Joined::Failed(error) => return Err(error),
            Joined::Over => return Ok(()),
        };
        let (old, old_open) = {
            let mut state = self.0.state();
            let old_open = std::mem::replace(&mut state.open, open);
            (state.current.replace(new), old_open)
        };
        let ending = old.as_ref().and_then(|old| old.retire());
        // Dropped without the lock: it holds values of the user.
        drop(old_open);
        if let Some(ending) = ending {
            ending.exit_reporting().await;
        }
        share.leave_reporting().await;
        Ok(())
    }
}

impl<V, E> AsyncContext for Shared<V, E>
where
    V: Send + Sync,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Value = Share<V, E>;
    type Error = Arc<E>;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<Share<V, E>, Arc<E>> {
        (self.0.join)(Arc::clone(&self.0)).await
    }

    async fn exit(self, share: Share<V, E>, _: &Outcome) -> Result<(), Arc<E>> {
        share.leave().await
    }

    async fn __coroutine(self, lender: Lender<Share<V, E>, Arc<E>>) -> Result<(), Arc<E>> {
        // A user who waits has nothing to undo. An enter that the user has begun goes on without
        // the user.
        let mark = lender.mark();
        let share = (self.0.join)(Arc::clone(&self.0)).await?;
        drop(mark);
        let (share, _) = lender.yield_(share).await;
        share.leave().await
    }
}

impl<V, E> Clone for Shared<V, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V, E> fmt::Debug for Shared<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
