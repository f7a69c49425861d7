//! Exits that go on in the background, because their caller has gone away.
//!
//! A future that uses a context may be dropped: by a timeout, a `select!`, an aborted task, or a
//! client that hung up. Then the context is handed over to the tokio runtime that it was entered
//! on, and exits there with [`Outcome::Cancelled`]. An exit whose body had ended before keeps its
//! outcome. Code that needs such exits to have ended, above all a `main`, waits for them:
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
//! Detached exits keep their order: an exit begins when the exits that it must wait for have ended.
//! See the guide: [the order](crate::guide::order). An exit that has waited for ten seconds is
//! reported, as [`LongWait`](Kind::LongWait).
//!
//! If an exit has no runtime, or its runtime has shut down, the exit runs on a thread of this
//! crate. After a shutdown, each exit has five seconds there. An exit that has not ended by then is
//! reported as [`Lost`](Kind::Lost). A process that ends does not wait for that thread: a `main`
//! that builds its own runtime must end with [`drain_blocking`]. See the guide: [how a program
//! ends](crate::guide::shutdown).

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time;

use crate::alarm::Alarm;
use crate::context::Verdict;
use crate::coroutine::{Code, Coroutine};
use crate::door::{self, Counted};
use crate::exchange::Stage;
use crate::fallback::{self, EachAlone};
use crate::order::{self, Begin};
use crate::outcome::Outcome;
use crate::panic::{Payload, catch, drop_caught};
use crate::report::{self, Kind, drop_quietly};
use crate::roster::{Activity, Record, Seen, Snapshot};

/// Contexts that are open but unused.
static LINGERING: Mutex<BTreeMap<usize, Arc<dyn Lingering>>> = Mutex::new(BTreeMap::new());

/// A context that stays open for a while after its last use.
pub(crate) trait Lingering: Send + Sync {
    /// Hands over the exit of the context, if nobody uses the context now.
    fn close(&self);
}

pub(crate) fn add_lingering(key: usize, make: impl FnOnce() -> Arc<dyn Lingering>) {
    lingering().entry(key).or_insert_with(make);
}

pub(crate) fn remove_lingering(key: usize) {
    let removed = lingering().remove(&key);
    drop(removed);
}

fn lingering() -> MutexGuard<'static, BTreeMap<usize, Arc<dyn Lingering>>> {
    LINGERING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close_lingering() {
    // `close` removes the context from the map, and so needs the lock.
    let all: Vec<_> = lingering().values().map(Arc::clone).collect();
    for lingering in all {
        lingering.close();
    }
}

/// Returns the number of contexts that go on in the background now: in enter, waiting for their
/// turn, or in exit.
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

/// Returns the contexts that go on in the background now, with the name, the activity and the age
/// of each.
///
/// A context is in this list from when it is given up until its exit has ended, even without
/// [`set_listing`](crate::observe::set_listing). The `Display` of the list is for an operator.
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

/// Sets how many exits may be in the background before new enters must wait.
///
/// Exits accumulate, with all that they hold, if a program gives contexts up faster than their
/// exits end, for instance when a database has gone and requests time out. With a limit of `n`, an
/// enter waits while `n` exits are in the background. The waiting enters are let in one after the
/// other. By default there is no limit; `usize::MAX` removes a limit. Set the limit at the start of
/// the program, before the first guard. A limit of zero counts as a limit of one.
///
/// The limit must not hold back anything that a closing context could wait for. Therefore an enter
/// waits only if all of this is true:
///
/// - It is outside all contexts: not in an enter, a body or an exit, nor in a task of
///   [`tasks`](crate::tasks).
/// - Its task has opened no guard, outside all contexts, that is still open.
/// - It runs on tokio.
///
/// So the limit applies to the outermost contexts alone: those that a request, a job or a task
/// begins with. If more exits than the limit are in the background, they come from contexts that
/// were already open.
///
/// The crate cannot see two kinds of waits. An exit may join a task of `tokio::spawn` whose first
/// context waits here. Or an exit may need something that such a task holds without a guard of its
/// own, for instance a lock, or a guard that another task has opened. To end such waits, an enter
/// is reported as [`LongWait`](Kind::LongWait) after ten seconds, or the time given to
/// [`set_wait_limit`](report::set_wait_limit), and proceeds. With `Duration::MAX`, or on a runtime
/// without a timer, it waits until there is room. To end exits that hang, use [`set_exit_limit`].
/// To end requests that wait, give them a time limit.
///
/// An enter that waits has not begun. The time of a limit on enter does not run meanwhile. If the
/// enter is dropped, nothing is left behind.
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

/// The limit in milliseconds. The greatest number means that there is no limit.
static EXIT_LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets how long an exit may take in the background.
///
/// An exit that takes longer is cut off, as by
/// [`exit_timeout`](crate::AsyncContextExt::exit_timeout), and reported as
/// [`TimedOut`](Kind::TimedOut). The limit covers the exit's own code. It covers neither the wait
/// for other exits nor an enter that goes on in the background. In a stack, each exit has the whole
/// limit. By default there is no limit; `Duration::MAX` removes a limit.
///
/// An exit with a limit of its own keeps that limit. An exit that is awaited is not limited,
/// because the caller's error type has no value for an exceeded limit. A new limit also holds for
/// exits that are already in the background, from their next step on. On a tokio runtime without a
/// timer, this limit has no effect.
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

/// Drops a context that goes on in the background, at the await that the context's code has
/// reached. Returns `true` if the context was in the background.
///
/// Use this function when an exit hangs, for instance from an operator's endpoint or at the end of
/// a program. The context is reported as [`Forced`](Kind::Forced). From then on, no other exit
/// waits for the contexts that this exit has opened: see [`LetGo`](Kind::LetGo). This call does not
/// wait. The runtime of the exit drops the context when it next polls the exit, so code that blocks
/// its thread is not interrupted.
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

/// Waits until no context goes on in the background.
///
/// The wait includes exits that other parts of the program hand over meanwhile. It does not include
/// contexts that are still in use. A task that still runs, or that was aborted and not joined,
/// hands its exits over only when the task drops its contexts. So join the tasks first.
///
/// A [shared](crate::shared) context that [lingers](crate::Shared::linger) after its last use is
/// closed at once.
///
/// Do not call this function in an enter or an exit. An enter or exit that goes on in the
/// background would wait for itself.
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
/// Dropping the future does not affect the exits.
pub async fn drain() {
    door::none(close_lingering).await;
}

/// Waits as [`drain`] does, for no longer than `limit`. Returns the number of exits that are left.
///
/// The exits that are left are reported by name, in one [`Undrained`](Kind::Undrained) report.
///
/// Call this function on a tokio runtime with its timer enabled. Elsewhere, use [`drain_blocking`].
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
/// If this function is called outside a tokio runtime, or on a tokio runtime without a timer.
/// (`tokio::time::timeout` panics in the same cases.)
pub async fn drain_timeout(limit: Duration) -> usize {
    match tokio::time::timeout(limit, drain()).await {
        Ok(()) => 0,
        Err(_) => left(),
    }
}

/// Reports the exits that are left after a limit, and returns their number.
pub(crate) fn left() -> usize {
    report::undrained(list());
    count()
}

/// Waits as [`drain`] does, but blocks the thread, and for no longer than `limit`. Returns the
/// number of exits that are left.
///
/// The exits that are left are reported, as by [`drain_timeout`].
///
/// This is for a `main` whose runtime is gone. On a thread of a running runtime, call [`drain`]
/// instead. While this thread is blocked, exits that this thread would drive cannot go on, nor can
/// exits on a current-thread runtime that no thread drives.
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

/// Runs the future, and then waits as [`drain`] does. A `main` that wraps its future in this
/// function loses no exit that the future, or a task that has ended, has left behind. If the future
/// panics, the panic goes on after the wait.
///
/// Tasks that still run when the future ends are not covered. Join them before, or drop the runtime
/// and then call [`drain_blocking`].
///
/// A signal such as Ctrl-C ends the process on the spot, unless the program handles it. Let the
/// future end at the signal, with a `select!` over `tokio::signal::ctrl_c()`. The `select!` then
/// drops the contexts of its other branches, and `drained` returns when their exits have ended.
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
/// If the future is dropped, the inner future drops. The contexts that were open in the inner
/// future exit in the background, and nothing waits for them.
pub fn drained<F: Future>(future: F) -> impl Future<Output = F::Output> {
    // Boxed, because the future of a whole program is large.
    let mut future = Box::pin(catch(future));
    async move {
        let ended = future.as_mut().await;
        let dropped = drop_caught(future);
        drain().await;
        match (ended, dropped) {
            (Ok(output), Ok(())) => output,
            (Ok(output), Err(payload)) => {
                drop_quietly(DRAINED, output);
                resume_unwind(payload)
            }
            (Err(payload), Ok(())) => resume_unwind(payload),
            (Err(payload), Err(second)) => {
                report::panic(DRAINED, Kind::Panicked, second);
                resume_unwind(payload)
            }
        }
    }
}

/// The name of [`drained`] in reports.
const DRAINED: &str = "async_context_manager::detached::drained";

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
        // A lease of the value never came back: there is no value to exit with.
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
        limit: None,
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

/// Names the task for tokio-console.
#[cfg(all(tokio_unstable, feature = "tracing"))]
fn spawn(task: impl Future<Output = ()> + Send + 'static, name: &'static str, runtime: &Handle) {
    let task = tokio::task::Builder::new()
        .name(name)
        .spawn_on(task, runtime);
    // If the task could not be spawned, it has dropped here, and its rescue has begun.
    drop(task);
}

/// The rest of a context, from where its holder left it. The context counts as an exit in the
/// background until this drops. The fields drop in the order in which they stand here.
struct Rest<V, D, E> {
    coroutine: Coroutine<Code<V, D, E>>,
    /// `Some` once the exit has begun.
    begin: Option<Begin>,
    /// `Some` while the exit runs and its time is limited.
    limit: Option<Limit>,
    record: Arc<Record>,
    #[expect(dead_code, reason = "held for its drop")]
    counted: Counted,
}

/// The limit on the time of an exit. If an operator changes the limit, the exit keeps its begin.
struct Limit {
    time: Duration,
    begun: time::Instant,
    alarm: Alarm,
}

impl Limit {
    fn new(time: Duration, begun: time::Instant) -> Self {
        Self {
            time,
            begun,
            alarm: Alarm::after(time.saturating_sub(begun.elapsed())),
        }
    }
}

enum Ended {
    Well,
    /// The code panicked.
    Panicked(Payload),
    /// The code has not ended, and must be cut off.
    CutOff(Kind),
}

impl<V, D, E> Rest<V, D, E>
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Polls the context. Also returns whether the context waits for other exits. Never panics.
    fn poll(&mut self, cx: &mut Context<'_>) -> (Poll<Ended>, bool) {
        if self.record.poll_forced(cx).is_ready() {
            return (Poll::Ready(Ended::CutOff(Kind::Forced)), false);
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
            None => self.limit = None,
            Some(time) => {
                let begin = || Limit::new(time, time::Instant::now());
                let limit = self.limit.get_or_insert_with(begin);
                if limit.time != time {
                    *limit = Limit::new(time, limit.begun);
                }
                if limit.alarm.poll(cx).is_ready() {
                    return (Poll::Ready(Ended::CutOff(Kind::TimedOut)), false);
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

    /// Drops the context. If its code panicked, the panic is reported with the kind `panicked`.
    fn end(mut self, ended: Ended, panicked: Kind) {
        let name = self.name();
        match ended {
            Ended::Well => {}
            Ended::Panicked(payload) => report::panic(name, panicked, payload),
            Ended::CutOff(kind) => {
                if let Some(begin) = self.begin.take() {
                    self.coroutine.place().cut_off(begin);
                    // An observer sees a failed exit, as if the exit's own limit had cut it off.
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

/// What a context at this stage does in the background.
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

/// Runs enter, if it has not ended yet, and then exit. Ready when nothing is left to run.
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
            // The code has reached an await that may be given up, and nobody waits for the rest of
            // enter.
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

/// A detached exit, as a task of the runtime that its context was entered on.
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
    /// Rescues the exit. A runtime that shuts down drops its tasks silently. A runtime that has
    /// shut down accepts a spawn, and drops the task at once.
    fn drop(&mut self) {
        if let Some(rest) = self.0.take() {
            rescue(rest);
        }
    }
}

/// Tries once more, on the thread of this crate. An exit that has not begun yet, or that is not
/// bound to the old runtime by a timer or a socket, can end there.
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
                // The exits that this one waits for have limits of their own. This one's limit
                // begins after them.
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
