//! Contexts that many users share: the first one opens, the last one exits.
//!
//! A [`Shared`] has one [`Generation`] at a time that is open, or is about to be, or to end. One
//! that was replaced goes on beside it until its last user has left.

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

/// A context that many users share: made by [`shared`], [`swappable`], and [`Keyed::at`].
///
/// It is a context like any other, for [`with`](crate::AsyncContextExt::with), guards and stacks.
/// Clones are of the same one, cheap, and may be kept anywhere: in the state of a server, in tasks,
/// in a `static`. The type of the context behind it is forgotten, so that this one can be named.
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
    /// Chosen where value and error are known to be `'static`: with that as a bound of the context
    /// the compiler would not find out that a future with a guard of it is `Send`, where the
    /// value's type has a lifetime.
    join: fn(Arc<Self>) -> Joining<V, E>,
    /// For the map that it is in.
    forget: Option<Box<dyn Fn() + Send + Sync>>,
}

type Joining<V, E> = Pin<Box<dyn Future<Output = Result<Share<V, E>, Arc<E>>> + Send>>;

struct State<V, E> {
    open: Arc<Opener<V, E>>,
    linger: Duration,
    current: Option<Arc<Generation<V, E>>>,
}

/// Makes the context of a generation, whichever comes.
type Opener<V, E> = dyn Fn(Signal<V, E>) -> Context<V, E> + Send + Sync;

/// A context that is opened at its first use, by whoever that is, and exited by its last user.
///
/// The first user calls `open`, and enters the context that it gives. Who comes meanwhile waits for
/// that, and who comes later uses what is open. The body of each user borrows a [`Share`], which
/// derefs to the value; so the value has to be `Sync`. When the last user leaves, the context is
/// exited, and that user awaits the exit. Who comes while it exits waits for that, and then opens
/// anew. So it is never open twice.
///
/// With [`linger`](Shared::linger) it stays open for a while after its last use, and
/// [`replace`](Shared::replace) opens another one in its place. [`keyed`] shares one context for
/// each key.
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
/// The error of an enter that fails is that of all who have waited for it; so the error of a shared
/// context is an [`Arc`]. A `?` in a body makes one. Whoever comes after that tries again. The
/// error of the exit is that of the last user, who has awaited it.
///
/// What the context runs [beside](crate::guide::beside) its body runs in a task, because no user's
/// body is the body of the context. An error from there ends no user's body: the error is
/// [reported](crate::report::Kind::BesideFailed) when the context exits.
///
/// # Panics
///
/// With the panic of `open` or of enter, in the user who opens. Those who wait try again. A
/// panic of the exit is that of the last user.
///
/// # What the exit sees
///
/// [`Completed`](Outcome::Completed), however the body of the last user ended: the users share the
/// context, and not their failures. It is [`Cancelled`](Outcome::Cancelled) where all who wanted to
/// have it open had gone before it was.
///
/// # Cancel safety
///
/// A user who is dropped while waiting is gone at once. If that user was opening, one of those who
/// wait goes on with it; where nobody waits, it goes on in the background, and is exited as soon as
/// it is open. A user who is dropped in the body leaves in the background, as from any other
/// context. A user who opens, or awaits the exit, and is not polled any more without being dropped,
/// holds up those who wait, as with a lock.
///
/// # Order
///
/// It is [independent](crate::AsyncContextExt::independent): it belongs to all its users, and so no
/// context around one of them waits for it. The user who leaves last does, in the exit of the use.
/// It must not use itself in its own enter or exit, nor wait for a user there.
pub fn shared<C, F>(open: F) -> Shared<C::Value, C::Error>
where
    F: Fn() -> C + Send + Sync + 'static,
    C: AsyncContext<Value: Sync + 'static, Verdict = ()> + 'static, // its users share the value: put a lock into it
{
    Shared(Arc::new(Inner::new(opener(open), Duration::ZERO, None)))
}

/// A context that is replaced while it is in use: a configuration, a certificate, a pool.
///
/// It is [`shared`], and stays open between its uses until it is replaced or
/// [drained](crate::detached::drain). [`replace`](Shared::replace) opens another context. New uses
/// have that one, and the old one is exited when its last use is over.
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

/// The contexts are independent of what their users are in.
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

    /// The generation for who comes now.
    fn current(&self) -> Arc<Generation<V, E>> {
        let mut state = self.state();
        let linger = state.linger;
        if let Some(current) = state.current.as_ref().filter(|current| !current.is_over()) {
            return Arc::clone(current);
        }
        let new = Generation::new(make(&state.open), linger);
        let old = state.current.replace(Arc::clone(&new));
        drop(state);
        // Its error may be the last share in that, and is the user's.
        drop(old);
        new
    }
}

/// What opens one generation.
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
    /// Keeps the context open for so long after its last use: for what is dear to open.
    ///
    /// It holds for all clones, from the next opening on. Its exit runs in the background then,
    /// and its error is [reported](crate::report). [`drain`](crate::detached::drain) closes
    /// at once what lingers, and so does a runtime that shuts down under the last user's timer.
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

    /// Opens another context, and puts it into the place of the one that is there.
    ///
    /// When the new one is open, all uses that begin from then on have it, and contexts that are
    /// opened later are made by `open`. The old one is exited when its last use is over, by that
    /// user; where nobody uses it, it is exited here, before this returns.
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
    /// The error of enter of the new context. The old one stays then. An error of the old one's
    /// exit is [reported](crate::report).
    ///
    /// # Panics
    ///
    /// With the panic of `open`, of the new enter, or of the old exit.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the new context is open, nothing is replaced, and the new context is exited
    /// in the background. Dropped after that, the old exit goes on in the background.
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
        // What it holds is the user's.
        drop(old_open);
        let ending = old.as_ref().and_then(|old| old.retire());
        if let Some(ending) = ending {
            ending.exit_reporting().await;
        }
        share.leave().await
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
        // Who waits has nothing to undo, and what that one has begun goes on without it.
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
