//! Exits that go on in the background, because nobody waits for them any more.
//!
//! When the future that uses a context is dropped (a timeout, a `select!`, an aborted task, a
//! client that hung up), its coroutine is handed over to the tokio runtime that it was entered on,
//! and exits there with [`Outcome::Cancelled`]. Whoever needs to know that this has happened, a
//! `main` above all, waits for it:
//!
//! ```
//! use async_context_manager::detached;
//!
//! # async fn app() {}
//! #[tokio::main]
//! async fn main() {
//!     detached::drained(app()).await;
//! }
//! ```
//!
//! Detached exits keep their order: an exit begins when the exits that it has to wait for have
//! ended. The guide has a page on [that order](crate::guide::order). An exit that has waited for
//! ten seconds is reported, as [`LongWait`](Kind::LongWait).
//!
//! What can't be handed over to its own runtime (there was none, or it has shut down) runs on a
//! thread of this crate. After a shutdown, each exit has five seconds there, and an exit that has
//! not ended by then is reported as [`Lost`](Kind::Lost). A process that ends does not wait for
//! that thread: a `main` that builds its own runtime ends with [`drain_blocking`]. The guide has a
//! page on [how a program ends](crate::guide::shutdown).

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::alarm::Alarm;
use crate::context::Verdict;
use crate::coroutine::{Code, Coroutine};
use crate::door::{self, Counted};
use crate::exchange::Stage;
use crate::fallback::{self, EachAlone};
use crate::order::{self, Begin};
use crate::outcome::Outcome;
use crate::panic::{Payload, catch, resume};
use crate::report::{self, Kind, drop_quietly};
use crate::roster::{Activity, Record, Seen, Snapshot};

/// Contexts that are open, and that nobody uses.
static LINGERING: Mutex<BTreeMap<usize, Arc<dyn Lingering>>> = Mutex::new(BTreeMap::new());

/// A context that stays open for a while after its last use.
pub(crate) trait Lingering: Send + Sync {
    /// Hands over its exit, if nobody uses it now.
    fn close(&self);
}

/// It may linger from now on.
pub(crate) fn add_lingering(key: usize, make: impl FnOnce() -> Arc<dyn Lingering>) {
    lingering().entry(key).or_insert_with(make);
}

/// It lingers no more.
pub(crate) fn remove_lingering(key: usize) {
    let removed = lingering().remove(&key);
    drop(removed);
}

fn lingering() -> MutexGuard<'static, BTreeMap<usize, Arc<dyn Lingering>>> {
    LINGERING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close_lingering() {
    // Closing them takes them out.
    let all: Vec<_> = lingering().values().map(Arc::clone).collect();
    for lingering in all {
        lingering.close();
    }
}

/// How many exits are running in the background now.
///
/// ```
/// # use async_context_manager::{contexts::defer, detached, prelude::*};
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let guard = defer(async |_: &Outcome| Ok::<_, io::Error>(tokio::task::yield_now().await)).guard().await?;
/// drop(guard); // exits in the background
/// assert_eq!(detached::count(), 1);
/// # detached::drain().await;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn count() -> usize {
    door::count()
}

/// The contexts that go on in the background now, by name, with what they do and since when.
///
/// A context is seen so from when it is given up until its exit has ended, without having to be
/// [listed](crate::observe::set_listing) before. `Display` is for an operator.
///
/// ```
/// use async_context_manager::{detached, prelude::*};
/// use std::io;
///
/// #[async_context]
/// async fn session() -> io::Result<()> {
///     let ((), _) = yield_!(());
///     Ok(tokio::task::yield_now().await)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// drop(session().guard().await?); // exits in the background
/// assert!(detached::list()[0].name().ends_with("::session"));
/// # detached::drain().await;
/// # assert!(detached::list().is_empty());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn list() -> Snapshot {
    Snapshot::take(Seen::is_detached)
}

/// Sets how many exits may be in the background before the next enters wait.
///
/// A program that gives up faster than its exits end (a database that has gone, and requests that
/// time out) has more and more of them, and of what they hold. With a limit of `n`, an enter waits
/// while `n` exits are in the background, and those that wait are let in one after the other. There
/// is no limit unless this is called; `usize::MAX` takes it away. Set it at the start of the
/// program, before there are guards.
///
/// Nothing that a closing context could wait for is held back. So an enter waits only
///
/// - outside of all contexts: not in an enter, a body or an exit, nor in a task of
///   [`tasks`](crate::tasks);
/// - in a task that has opened no guard that is still there;
/// - on tokio.
///
/// The limit is therefore one for the outermost contexts: those that a request, a job, a task
/// begins with. Exits above the limit come from contexts that were open already.
///
/// Two things are beyond what the crate can see: an exit that joins a task of `tokio::spawn` whose
/// first context waits here, and an exit that needs what such a task holds by other means than a
/// guard of its own, a lock say. So no enter waits for ever. After ten seconds, or what
/// [`set_wait_limit`](report::set_wait_limit) says, it is reported as [`LongWait`](Kind::LongWait),
/// and goes in. Exits that hang are ended by [`set_exit_limit`], and requests that wait by a time
/// limit of theirs.
///
/// An enter that waits has not begun. A limit on enter does not run meanwhile. Dropped, it leaves
/// nothing behind.
///
/// ```
/// use async_context_manager::{contexts::{defer, ready}, detached, prelude::*};
/// use std::{io, time::Duration};
/// use tokio::time::{Instant, sleep, timeout};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> io::Result<()> {
/// detached::set_limit(1);
/// let slow = defer(async |_: &Outcome| Ok::<_, io::Error>(sleep(Duration::from_secs(3)).await));
/// drop(slow.guard().await?); // exits in the background
///
/// let begun = Instant::now();
/// ready::<_, io::Error>(()).with(async |()| Ok(())).await?;
/// assert_eq!(begun.elapsed(), Duration::from_secs(3)); // it has waited for that exit
/// # Ok(())
/// # }
/// ```
pub fn set_limit(exits: usize) {
    door::set_limit(exits);
}

/// The limit in milliseconds. The greatest number stands for none.
static EXIT_LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets how long an exit may take in the background.
///
/// An exit that takes longer is given up, as by
/// [`exit_timeout`](crate::AsyncContextExt::exit_timeout), and reported as
/// [`TimedOut`](Kind::TimedOut). The limit covers the exit's own code: not the wait for the exits
/// of others, and not what an enter takes that goes on in the background. Of a stack, each exit has
/// the limit for itself. There is no limit unless this is called; `Duration::MAX` takes it away.
///
/// An exit with a limit of its own keeps that one. An exit that is awaited has none by this: its
/// error would have no type. The limit holds for exits that are in the background already, from
/// their next step on. On a tokio runtime without a timer there is none.
///
/// ```
/// use async_context_manager::{contexts::defer, detached, prelude::*};
/// use std::{future::pending, io, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> io::Result<()> {
/// detached::set_exit_limit(Duration::from_secs(30));
/// let stuck = defer(async |_: &Outcome| pending::<io::Result<()>>().await);
/// drop(stuck.guard().await?); // exits in the background
/// detached::drain().await; // after thirty seconds
/// # Ok(())
/// # }
/// ```
pub fn set_exit_limit(limit: Duration) {
    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    EXIT_LIMIT.store(millis, Ordering::Relaxed);
}

fn exit_limit() -> Option<Duration> {
    let millis = EXIT_LIMIT.load(Ordering::Relaxed);
    (millis != u64::MAX).then(|| Duration::from_millis(millis))
}

/// Gives up a context that goes on in the background: its code is dropped where it is. Returns
/// `true` if it was in the background.
///
/// For an operator, or an end of the program, who has seen it hang. It is reported as
/// [`Forced`](Kind::Forced). What was opened in its exit is let go, as where a time limit cuts it
/// off. It drops on the thread that it runs on, and not before its code gives way.
///
/// ```
/// use async_context_manager::{contexts::defer, detached, prelude::*};
/// use std::{future::pending, io, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let stuck = defer(async |_: &Outcome| pending::<io::Result<()>>().await);
/// drop(stuck.guard().await?); // exits in the background, and never ends
/// for seen in detached::list().iter() {
///     assert!(detached::force(seen));
/// }
/// detached::drain().await;
/// # Ok(())
/// # }
/// ```
#[expect(clippy::must_use_candidate, reason = "giving up is the point")]
pub fn force(seen: &Seen) -> bool {
    seen.force()
}

/// Waits until no exit is running in the background.
///
/// Other parts of the program may hand over new ones meanwhile; they are waited for as well. What
/// is still in use is not: a task that goes on, or one that was aborted and not joined, hands over
/// its exits when it drops them. Join the tasks first.
///
/// A [shared](crate::shared) context that [lingers](crate::Shared::linger) after its last use is
/// closed at once.
///
/// Inside of an enter or an exit it would wait for itself: don't call it there.
///
/// ```
/// # use async_context_manager::{contexts::defer, detached, prelude::*};
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let guard = defer(async |_: &Outcome| Ok::<_, io::Error>(tokio::task::yield_now().await)).guard().await?;
/// drop(guard); // exits in the background
/// detached::drain().await;
/// assert_eq!(detached::count(), 0);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Giving up waiting changes nothing about the exits.
pub async fn drain() {
    door::none(close_lingering).await;
}

/// Waits as [`drain`] does, for no longer than `limit`, and says how many exits are left.
///
/// What is left is reported by name, once for all: as [`Undrained`](Kind::Undrained).
///
/// Call it on a tokio runtime with its timer enabled; elsewhere there is [`drain_blocking`].
///
/// ```
/// # use async_context_manager::{contexts::defer, detached, prelude::*};
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> io::Result<()> {
/// let guard = defer(async |_: &Outcome| std::future::pending::<io::Result<()>>().await).guard().await?;
/// drop(guard); // exits in the background, and never ends
/// let left = detached::drain_timeout(std::time::Duration::from_secs(1)).await;
/// assert_eq!(left, 1);
/// # std::process::exit(0);
/// # }
/// ```
///
/// # Panics
///
/// Outside of a tokio runtime, or on one without a timer, as `tokio::time::timeout` does.
pub async fn drain_timeout(limit: Duration) -> usize {
    match tokio::time::timeout(limit, drain()).await {
        Ok(()) => 0,
        Err(_) => left(),
    }
}

/// Reports what is left after a limit, and says how many exits that are.
pub(crate) fn left() -> usize {
    report::undrained(list());
    count()
}

/// Blocks the thread as [`drain`] waits, for no longer than `limit`, and says how many are left.
///
/// What is left is reported, as by [`drain_timeout`].
///
/// For a `main` whose runtime is gone. On a thread of a runtime that is still running the exits it
/// would drive can't go on meanwhile, nor those on a current-thread runtime that nobody drives: use
/// [`drain`] there.
///
/// ```
/// use async_context_manager::{contexts::defer, detached, prelude::*};
/// use std::{io, time::Duration};
///
/// let runtime = tokio::runtime::Runtime::new().unwrap();
/// let guard = runtime.block_on(defer(async |_: &Outcome| Ok::<_, io::Error>(())).guard()).unwrap();
/// drop(runtime);
/// drop(guard);
/// assert_eq!(detached::drain_blocking(Duration::from_secs(5)), 0);
/// ```
#[expect(clippy::must_use_candidate, reason = "waiting is the point")]
pub fn drain_blocking(limit: Duration) -> usize {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut drained = pin!(drain());
    let begun = Instant::now();
    while drained.as_mut().poll(&mut cx).is_pending() {
        let Some(left) = limit.checked_sub(begun.elapsed()) else {
            return left();
        };
        thread::park_timeout(left);
    }
    0
}

/// Runs the future, and then waits as [`drain`] does: a `main` that is wrapped in it loses nothing
/// that its future, or a task that has ended, has left behind. Also where the future panics: the
/// panic goes on after the wait.
///
/// Tasks that are still there when the future ends are not covered: join them before, or drop the
/// runtime and then call [`drain_blocking`].
///
/// A signal such as Ctrl-C ends the process on the spot, unless the program handles it: let the
/// future end at it, with a `select!` over `tokio::signal::ctrl_c()`, and everything that the
/// `select!` drops is exited before `drained` returns.
///
/// ```
/// # use async_context_manager::{contexts::defer, detached, prelude::*};
/// # use std::io;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let answer = detached::drained(async {
///     let guard = defer(async |_: &Outcome| Ok::<_, io::Error>(())).guard().await?;
///     drop(guard); // exits in the background
///     Ok::<_, io::Error>(42)
/// });
/// assert_eq!(answer.await?, 42);
/// assert_eq!(detached::count(), 0);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropped, it drops the future; what that hands over goes on in the background.
pub fn drained<F: Future>(future: F) -> impl Future<Output = F::Output> {
    // In a box: the future of a whole program is large.
    let mut future = Box::pin(catch(future));
    async move {
        let ended = future.as_mut().await;
        drop(future);
        drain().await;
        resume(ended)
    }
}

/// Takes over a coroutine whose holder has gone.
pub(crate) fn hand_over<V, D, E>(mut coroutine: Coroutine<Code<V, D, E>>)
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    let name = coroutine.name();
    let stage = coroutine.stage();
    let is_in_body = stage == Stage::Lent;
    let is_forgotten = is_in_body && !coroutine.slot().has_value();
    if is_forgotten {
        // A lease of it never came back: there is nothing to exit with.
        report::plain(name, Kind::NotRun);
    }
    if is_forgotten || coroutine.is_cancellable() {
        return drop_quietly(name, coroutine);
    }
    let has_closed = !is_in_body && stage != Stage::Entering;
    coroutine.place().detach(name, has_closed);
    if is_in_body {
        coroutine.end_body(Outcome::Cancelled);
    }
    let runtime = coroutine.place().take_runtime();
    let record = coroutine.place().detached_record(name, activity(stage));
    let begin = has_closed.then(Begin::now);
    let counted = Counted::new();
    coroutine.place().watch().detached();
    let detached = Detached(Some(Rest {
        coroutine,
        begin,
        alarm: None,
        record,
        counted,
    }));
    match runtime.or_else(fallback::runtime) {
        Some(runtime) => spawn(detached, name, &runtime),
        None => drop(detached),
    }
}

#[cfg(not(all(tokio_unstable, feature = "tracing")))]
fn spawn(task: impl Future<Output = ()> + Send + 'static, _name: &'static str, runtime: &Handle) {
    runtime.spawn(task);
}

/// As a task of that name, for tokio-console.
#[cfg(all(tokio_unstable, feature = "tracing"))]
fn spawn(task: impl Future<Output = ()> + Send + 'static, name: &'static str, runtime: &Handle) {
    let task = tokio::task::Builder::new()
        .name(name)
        .spawn_on(task, runtime);
    // Where it could not be spawned, it has dropped, and its rescue has begun.
    drop(task);
}

/// What is left of a context, from wherever its holder left it. It counts as running until it
/// drops, and drops in this order.
struct Rest<V, D, E> {
    coroutine: Coroutine<Code<V, D, E>>,
    /// Once its exit has begun.
    begin: Option<Begin>,
    /// While its exit has a limit, and waits for no other one.
    alarm: Option<Alarm>,
    /// Its entry in the roster.
    record: Arc<Record>,
    #[expect(dead_code, reason = "held for its drop")]
    counted: Counted,
}

/// How a context in the background has ended.
enum Ended {
    Well,
    /// By a panic of its code.
    Panicked(Payload),
    /// It goes on, and is to be given up.
    GivenUp(Kind),
}

impl<V, D, E> Rest<V, D, E>
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Goes on with it. Tells as well whether it waits for the exits of others. It does not panic.
    fn poll(&mut self, cx: &mut Context<'_>) -> (Poll<Ended>, bool) {
        if self.record.poll_forced(cx).is_ready() {
            return (Poll::Ready(Ended::GivenUp(Kind::Forced)), false);
        }
        let limit = exit_limit().filter(|_| !self.coroutine.life().is_limited());
        let (polled, waits_for) = order::poll_and_see(|| {
            let _alone = limit.map(|_| EachAlone::begin());
            self.poll_code(cx)
        });
        if let Poll::Ready(ended) = polled {
            return (Poll::Ready(ended), false);
        }
        let activity = match waits_for {
            Some(_) => Activity::Waiting,
            None => activity(self.coroutine.stage()),
        };
        self.record.set(activity, waits_for);
        match limit.filter(|_| activity == Activity::Exiting) {
            None => self.alarm = None,
            Some(limit) => {
                let alarm = self.alarm.get_or_insert_with(|| Alarm::after(limit));
                if alarm.poll(cx).is_ready() {
                    return (Poll::Ready(Ended::GivenUp(Kind::TimedOut)), false);
                }
            }
        }
        (Poll::Pending, waits_for.is_some())
    }

    fn poll_code(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let _traced = self.coroutine.place().watch().trace();
        let has_begun = |coroutine: &mut Coroutine<_>| {
            matches!(coroutine.stage(), Stage::Exiting | Stage::Closing)
        };
        let begin = self.begin.is_none().then(Begin::now);
        let polled = catch_unwind(AssertUnwindSafe(|| poll_code(&mut self.coroutine, cx)));
        if has_begun(&mut self.coroutine) {
            self.begin = self.begin.take().or(begin);
        }
        match polled {
            Ok(polled) => polled.map(|()| Ended::Well),
            Err(payload) => Poll::Ready(Ended::Panicked(payload)),
        }
    }

    /// Drops it. A panic of its code is reported as of this kind.
    fn end(mut self, ended: Ended, panicked: Kind) {
        let name = self.name();
        match ended {
            Ended::Well => {}
            Ended::Panicked(payload) => report::panic(name, panicked, payload),
            Ended::GivenUp(kind) => {
                if let Some(begin) = self.begin.take() {
                    self.coroutine.place().cut_off(begin);
                    // As where a limit of its own has cut it off.
                    self.coroutine.place().watch().exited(true);
                }
                report::plain(name, kind);
            }
        }
        drop_quietly(name, self);
    }

    fn name(&self) -> &'static str {
        self.coroutine.name()
    }
}

/// What a context that is this far is doing, in the background.
fn activity(stage: Stage) -> Activity {
    match stage {
        Stage::Entering => Activity::Entering,
        Stage::Lent
        | Stage::BodyOver
        | Stage::Exiting
        | Stage::Closing
        | Stage::Over
        | Stage::OverEarly => Activity::Exiting,
    }
}

/// Enter, if it has not ended yet, and exit. Ready when there is nothing left to run.
fn poll_code<V, D, E>(coroutine: &mut Coroutine<Code<V, D, E>>, cx: &mut Context<'_>) -> Poll<()>
where
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    if coroutine.stage() == Stage::Entering {
        match coroutine.poll_enter(cx) {
            Poll::Ready(Ok(())) => coroutine.end_body(Outcome::Cancelled),
            Poll::Ready(Err(error)) => {
                report::error(coroutine.name(), Kind::EnterFailed, Arc::new(error));
                return Poll::Ready(());
            }
            // It has come to an await that may be given up, and nobody waits for what is behind it.
            Poll::Pending if coroutine.is_cancellable() => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
    match ready!(coroutine.poll_exit(cx)) {
        Ok(verdict) if verdict.suppressed::<()>().is_some() => coroutine.settle(),
        Ok(_) => {}
        Err(error) => {
            let kind = coroutine.failed_as();
            report::error(coroutine.name(), kind, Arc::new(error));
        }
    }
    Poll::Ready(())
}

/// A detached exit as a task of the runtime that its context was entered on.
struct Detached<V, D, E>(Option<Rest<V, D, E>>)
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static;

impl<V, D, E> Future for Detached<V, D, E>
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(rest) = &mut self.0 else {
            return Poll::Ready(());
        };
        let ended = ready!(rest.poll(cx).0);
        if let Some(rest) = self.0.take() {
            rest.end(ended, Kind::Panicked);
        }
        Poll::Ready(())
    }
}

impl<V, D, E> Drop for Detached<V, D, E>
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// A runtime that shuts down drops its tasks without a word. Also one that has shut down
    /// already accepts the spawn, and drops the task at once.
    fn drop(&mut self) {
        if let Some(rest) = self.0.take() {
            rescue(rest);
        }
    }
}

/// One more try, on the thread of this crate. What has not begun yet, and what is not bound to the
/// old runtime by a timer or a socket, comes to its end there.
fn rescue<V, D, E>(rest: Rest<V, D, E>)
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    let name = rest.name();
    let Some(runtime) = fallback::runtime() else {
        report::plain(name, Kind::Lost);
        return drop_quietly(name, rest);
    };
    let rescued = async move {
        // All of it moves in here.
        let mut rest = rest;
        loop {
            let mut has_waited = false;
            let ended = poll_fn(|cx| {
                let _alone = EachAlone::begin();
                let (polled, waits) = rest.poll(cx);
                has_waited |= waits;
                polled
            });
            let ended = tokio::time::timeout(fallback::LIMIT, ended).await;
            match ended {
                Ok(ended) => return rest.end(ended, Kind::Lost),
                // Each exit that it waits for has a limit of its own: this one's begins after them.
                Err(_) if has_waited => {}
                Err(_) => {
                    report::plain(name, Kind::Lost);
                    return drop_quietly(name, rest);
                }
            }
        }
    };
    spawn(rescued, name, &runtime);
}
