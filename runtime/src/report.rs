//! One hook for the whole program: it receives the errors that have no caller left to go to.
//!
//! The caller of a cancelled context has gone away. If the context's rollback fails, no `Result`
//! can carry the error, so the hook gets the error. The default hook writes one line to stderr,
//! like the panic hook. With the feature `tracing`, the default hook emits an event of level
//! `ERROR` instead, unless nothing in the program listens to events.
//!
//! ```
//! use async_context_manager::report;
//!
//! report::set_hook(|report| eprintln!("clean-up trouble: {report}"));
//! # report::reset_hook();
//! ```
//!
//! Each error that no exit suppresses is either returned to a caller or reported, never both and
//! never neither. So if a time limit drops a `with` while its exit runs, the body's error is
//! reported as [`BodyFailed`](Kind::BodyFailed), even if that error is an ordinary one. A hook may
//! ignore the reports that it expects.
//!
//! Three kinds of reports do not mean that something failed. [`LongWait`](Kind::LongWait) and
//! [`LetGo`](Kind::LetGo) are about the order of exits, and [`Undrained`](Kind::Undrained) lists
//! what a drain has left.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::outcome::{BodyError, BodyPanic};
use crate::panic::{Payload, drop_caught, drop_payload};
use crate::roster::Snapshot;

/// Something that went wrong where no caller was left to receive it.
///
/// `Display` writes one line, in which the error appears as its `Debug` prints it.
///
/// ```
/// use async_context_manager::{prelude::*, report};
///
/// #[async_context]
/// async fn session() -> Result<(), &'static str> {
///     let ((), _) = yield_!(());
///     Err("the other side has gone")
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// report::set_hook(|report| {
///     assert!(report.to_string().ends_with(r#"session`: exit failed: "the other side has gone""#));
/// });
/// let result = session().with(async |()| Err::<(), _>("no such user")).await;
/// assert_eq!(result, Err("no such user")); // and the other one is reported
/// # }
/// ```
#[derive(Debug)]
pub struct Report {
    context: &'static str,
    kind: Kind,
    cause: Cause,
}

/// What a [`Report`] is about.
///
/// ```
/// use async_context_manager::{prelude::*, report};
///
/// #[async_context]
/// async fn session() -> Result<(), &'static str> {
///     let ((), _) = yield_!(());
///     Err("the other side has gone")
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// report::set_hook(|report| {
///     match report.kind() {
///         report::Kind::ExitFailed => println!("as sessions do: {report}"),
///         _ => panic!("{report}"),
///     }
/// });
/// let result = session().with(async |()| Err::<(), _>("no such user")).await;
/// assert_eq!(result, Err("no such user")); // and the other one is reported
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Enter failed, and its error has no caller: the caller has gone, or another enter that ran at
    /// the same time failed before. No exit follows.
    EnterFailed,
    /// Exit failed, and its error has no caller: another error or a panic goes to the caller, the
    /// caller has gone, or the context [ignores exit
    /// errors](crate::AsyncContextExt::ignore_exit_errors). An error of a task of
    /// [`tasks`](crate::tasks()) that no caller gets is of this kind, too.
    ExitFailed,
    /// Enter, exit, a task of [`tasks`](crate::tasks()) or the future
    /// [beside](crate::guide::beside) the body panicked, and the panic has no caller: something
    /// else goes to the caller, or the caller has gone. A panic in a user's `From` or `Drop` during
    /// enter or exit counts as a panic of that enter or exit.
    Panicked,
    /// Exit was cut off by its [time limit](crate::AsyncContextExt::exit_timeout), and nobody gets
    /// the error that says so. Or it was cut off by the [limit for all
    /// exits](crate::detached::set_exit_limit). Or tasks of [`tasks`](crate::tasks()) were aborted
    /// after a body that completed, because their [grace](crate::TaskGroup::grace) was over. The
    /// report has no error, and no second report as `ExitFailed` follows.
    TimedOut,
    /// A context in the background was cut off, because the program called
    /// [`detached::force`](crate::detached::force).
    Forced,
    /// The runtime shut down under a detached exit, and the exit could not be finished elsewhere.
    /// It took too long there, or it panicked, for example because it needs the runtime that is
    /// gone. Or the runtime shut down under a task of [`tasks`](crate::tasks) that the exit was to
    /// join.
    Lost,
    /// A context was dropped before its exit had ended, and cannot go on in the background. It
    /// borrows, was entered by hand and never exited, or was closed by
    /// [`exit_as`](crate::Guard::exit_as) after a body that failed. Or the body forgot its value or
    /// took the value away.
    NotRun,
    /// The body failed, but its error could not be returned: the caller was dropped during exit,
    /// exit panicked, or the future [beside](crate::guide::beside) the body had ended the body
    /// before.
    BodyFailed,
    /// The body panicked, but its panic could not go on: the caller was dropped during exit.
    BodyPanicked,
    /// The future [beside](crate::guide::beside) the body failed, but the body had already ended,
    /// or its guard was dropped without an exit.
    BesideFailed,
    /// A context that was entered by hand has a future to run [beside](crate::guide::beside) its
    /// body, but [`AsyncContext::beside`](crate::AsyncContext::beside) was not called. Its exit has
    /// run.
    BesideNotRun,
    /// The context was opened in an exit that was cut off: by its [time
    /// limit](crate::AsyncContextExt::exit_timeout), by the [limit for all
    /// exits](crate::detached::set_exit_limit), or by [`force`](crate::detached::force). The
    /// context goes on in the background, and no other exit waits for it.
    LetGo,
    /// A wait has taken longer than [`set_wait_limit`] allows. [`waits_for`](Report::waits_for)
    /// names the other context. The report is about one of these waits:
    ///
    /// - An exit waits for another context, and goes on waiting.
    /// - A failed enter waits for a context that it had opened, and goes on waiting.
    /// - An enter has waited because [too many](crate::detached::set_limit) exits were in the
    ///   background. The report names the oldest exit, and the enter proceeds now.
    ///
    /// The guide says [which waits never
    /// end](crate::guide::order#what-waits-for-ever-and-how-it-is-told).
    LongWait,
    /// The limit of a [drain](crate::detached::drain_timeout) is over, and exits are left in the
    /// background, where they go on. Or a second signal ends the process, and contexts are still
    /// open or closing. [`left`](Report::left) lists them. The report has the name of the oldest.
    Undrained,
}

#[derive(Debug)]
enum Cause {
    None,
    Left(Snapshot),
    WaitsFor(&'static str),
    Error(BodyError),
    Panic(BodyPanic),
}

impl Report {
    /// Returns the context's name: the path of the function under `#[async_context]`, or the name
    /// of the type.
    ///
    /// ```
    /// use async_context_manager::{prelude::*, report};
    ///
    /// #[async_context]
    /// async fn session() -> Result<(), &'static str> {
    ///     let ((), _) = yield_!(());
    ///     Err("the other side has gone")
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// report::set_hook(|report| {
    ///     assert!(report.context().ends_with("::session"));
    /// });
    /// let result = session().with(async |()| Err::<(), _>("no such user")).await;
    /// assert_eq!(result, Err("no such user")); // and the other one is reported
    /// # }
    /// ```
    #[must_use]
    pub fn context(&self) -> &'static str {
        self.context
    }

    /// Returns what happened.
    ///
    /// ```
    /// use async_context_manager::{prelude::*, report};
    ///
    /// #[async_context]
    /// async fn session() -> Result<(), &'static str> {
    ///     let ((), _) = yield_!(());
    ///     Err("the other side has gone")
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// report::set_hook(|report| {
    ///     assert_eq!(report.kind(), report::Kind::ExitFailed);
    /// });
    /// let result = session().with(async |()| Err::<(), _>("no such user")).await;
    /// assert_eq!(result, Err("no such user")); // and the other one is reported
    /// # }
    /// ```
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the error, if the report has one.
    ///
    /// ```
    /// use async_context_manager::{prelude::*, report};
    ///
    /// #[async_context]
    /// async fn session() -> Result<(), &'static str> {
    ///     let ((), _) = yield_!(());
    ///     Err("the other side has gone")
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// report::set_hook(|report| {
    ///     let error = report.error().unwrap();
    ///     assert_eq!(error.as_any().downcast_ref::<&str>(), Some(&"the other side has gone"));
    /// });
    /// let result = session().with(async |()| Err::<(), _>("no such user")).await;
    /// assert_eq!(result, Err("no such user")); // and the other one is reported
    /// # }
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<&BodyError> {
        match &self.cause {
            Cause::Error(error) => Some(error),
            Cause::None | Cause::Left(_) | Cause::WaitsFor(_) | Cause::Panic(_) => None,
        }
    }

    /// Returns the name of the context that this one waits for. `None` unless this is a
    /// [`LongWait`](Kind::LongWait).
    ///
    /// ```
    /// use async_context_manager::report;
    ///
    /// report::set_hook(|report| {
    ///     if let Some(other) = report.waits_for() {
    ///         eprintln!("{} waits for {other}", report.context());
    ///     }
    /// });
    /// # report::reset_hook();
    /// ```
    #[must_use]
    pub fn waits_for(&self) -> Option<&'static str> {
        match self.cause {
            Cause::WaitsFor(other) => Some(other),
            Cause::None | Cause::Left(_) | Cause::Error(_) | Cause::Panic(_) => None,
        }
    }

    /// Returns the contexts that a drain has left in the background or, at a second signal, those
    /// that are open or closing. `None` unless this is [`Undrained`](Kind::Undrained).
    ///
    /// ```
    /// use async_context_manager::report;
    ///
    /// report::set_hook(|report| match report.left() {
    ///     Some(left) => eprintln!("{left}"), // a line for each of the oldest
    ///     None => eprintln!("{report}"),
    /// });
    /// # report::reset_hook();
    /// ```
    #[must_use]
    pub fn left(&self) -> Option<&Snapshot> {
        match &self.cause {
            Cause::Left(left) => Some(left),
            Cause::None | Cause::WaitsFor(_) | Cause::Error(_) | Cause::Panic(_) => None,
        }
    }

    /// Returns the panic, if the report has one.
    ///
    /// ```
    /// use async_context_manager::{prelude::*, report};
    ///
    /// #[async_context]
    /// async fn session() -> Result<(), &'static str> {
    ///     let ((), _) = yield_!(());
    ///     Err("the other side has gone")
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// report::set_hook(|report| {
    ///     assert!(report.panic().is_none()); // it was an error
    /// });
    /// let result = session().with(async |()| Err::<(), _>("no such user")).await;
    /// assert_eq!(result, Err("no such user")); // and the other one is reported
    /// # }
    /// ```
    #[must_use]
    pub fn panic(&self) -> Option<&BodyPanic> {
        match &self.cause {
            Cause::Panic(panic) => Some(panic),
            Cause::None | Cause::Left(_) | Cause::WaitsFor(_) | Cause::Error(_) => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::EnterFailed => "enter failed, and its error has no caller to go to",
            Kind::ExitFailed => "exit failed",
            Kind::Panicked => "panicked",
            Kind::TimedOut => "exit was given up after its time limit",
            Kind::Forced => "was given up by force",
            Kind::Lost => "was lost, because the runtime shut down under it",
            Kind::NotRun => "exit did not run to its end, because the context was dropped",
            Kind::BodyFailed => "the body's error has no caller left to go to",
            Kind::BodyPanicked => "the body's panic has no caller left to go to",
            Kind::BesideFailed => "what ran beside the body failed, and the body had ended",
            Kind::BesideNotRun => "what it has to run beside its body was never run",
            Kind::LetGo => "nobody waits for it, because the exit that opened it was cut off",
            Kind::LongWait => "has been waiting for long",
            Kind::Undrained => "has not ended when the limit of a drain was over",
        };
        write!(f, "async context `{}`: {what}", self.context)?;
        match &self.cause {
            Cause::None => Ok(()),
            Cause::Left(left) => {
                write!(f, "; {} left: ", left.len())?;
                left.write_on_one_line(f)
            }
            Cause::WaitsFor(other) => write!(f, ", for the end of `{other}`"),
            Cause::Error(error) => write!(f, ": {error:?}"),
            Cause::Panic(panic) => write!(f, ": {}", panic.message()),
        }
    }
}

type Hook = Arc<dyn Fn(&Report) + Send + Sync>;

/// The limit in milliseconds. The greatest number means that nothing is reported.
static WAIT_LIMIT: AtomicU64 = AtomicU64::new(10_000);

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

/// Replaces the hook. The hook runs on the thread where the trouble occurs, at times inside a
/// `Drop`, so it must not block for long. A panic of the hook is caught, and the report is then
/// written to stderr.
///
/// ```
/// use async_context_manager::{prelude::*, report};
///
/// #[async_context]
/// async fn session() -> Result<(), &'static str> {
///     let ((), _) = yield_!(());
///     Err("the other side has gone")
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// report::set_hook(|report| {
///     println!("clean-up trouble: {report}");
/// });
/// let result = session().with(async |()| Err::<(), _>("no such user")).await;
/// assert_eq!(result, Err("no such user")); // and the other one is reported
/// # }
/// ```
pub fn set_hook(hook: impl Fn(&Report) + Send + Sync + 'static) {
    replace_hook(Some(Arc::new(hook)));
}

/// Restores the default hook.
///
/// ```
/// use async_context_manager::report;
///
/// report::set_hook(|_| {});
/// report::reset_hook(); // a line on stderr again
/// ```
pub fn reset_hook() {
    replace_hook(None);
}

/// Sets how long an exit may wait for other contexts before the wait is reported as
/// [`LongWait`](Kind::LongWait).
///
/// The default is ten seconds. `Duration::MAX` turns the reports off. Then an enter that
/// [`set_limit`](crate::detached::set_limit) holds back waits until there is room. A wait keeps the
/// limit that it began with. An exit that waits for several contexts, one after the other, is
/// reported once. The report names the context that the exit waits for when the time is over. On a
/// tokio runtime without a timer, nothing is reported.
///
/// ```
/// use async_context_manager::report;
/// use std::time::Duration;
///
/// report::set_wait_limit(Duration::from_secs(60));
/// # report::set_wait_limit(Duration::from_secs(10));
/// ```
pub fn set_wait_limit(limit: Duration) {
    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    WAIT_LIMIT.store(millis, Ordering::Relaxed);
}

/// Returns `None` if no wait is to be reported.
pub(crate) fn wait_limit() -> Option<Duration> {
    let millis = WAIT_LIMIT.load(Ordering::Relaxed);
    (millis != u64::MAX).then(|| Duration::from_millis(millis))
}

fn replace_hook(hook: Option<Hook>) {
    let mut place = HOOK.write().unwrap_or_else(PoisonError::into_inner);
    let old = std::mem::replace(&mut *place, hook);
    // The old hook may own values that report, or set a hook, when they drop.
    drop(place);
    drop(old);
}

/// Identifies an error of enter or exit: its context, and the kind of its report if nobody gets the
/// error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failing {
    pub(crate) context: &'static str,
    pub(crate) kind: Kind,
}

impl Failing {
    pub(crate) fn new(context: &'static str, kind: Kind) -> Self {
        Self { context, kind }
    }

    pub(crate) fn report<E: fmt::Debug + Send + Sync + 'static>(self, error: Arc<E>) {
        self::error(self.context, self.kind, error);
    }
}

pub(crate) fn error<E: fmt::Debug + Send + Sync + 'static>(
    context: &'static str,
    kind: Kind,
    error: Arc<E>,
) {
    if kind == Kind::TimedOut {
        // The kind says everything: the error is the error of the time limit, perhaps converted to
        // another type.
        plain(context, kind);
        return drop_quietly(context, error);
    }
    send(context, kind, Cause::Error(BodyError::new(error)));
}

pub(crate) fn body_error(context: &'static str, error: BodyError) {
    send(context, Kind::BodyFailed, Cause::Error(error));
}

pub(crate) fn beside_failed(context: &'static str, error: BodyError) {
    send(context, Kind::BesideFailed, Cause::Error(error));
}

pub(crate) fn panic(context: &'static str, kind: Kind, payload: Payload) {
    send(context, kind, Cause::Panic(BodyPanic::new(&*payload)));
    drop_payload(payload);
}

pub(crate) fn long_wait(context: &'static str, waits_for: &'static str) {
    send(context, Kind::LongWait, Cause::WaitsFor(waits_for));
}

pub(crate) fn undrained(left: Snapshot) {
    if let Some(oldest) = left.first() {
        send(oldest.name(), Kind::Undrained, Cause::Left(left));
    }
}

pub(crate) fn plain(context: &'static str, kind: Kind) {
    send(context, kind, Cause::None);
}

/// Never panics, although the hook, the error, and what they own are code of the user.
fn send(context: &'static str, kind: Kind, cause: Cause) {
    let report = Report {
        context,
        kind,
        cause,
    };
    #[cfg(feature = "testing")]
    let Some(report) = tap::catch(report) else {
        return;
    };
    // The lock must not be held during the call: a hook may replace the hook.
    let hook = HOOK.read().unwrap_or_else(PoisonError::into_inner).clone();
    let told = catch_unwind(AssertUnwindSafe(|| match &hook {
        Some(hook) => hook(&report),
        None => tell(&report),
    }));
    if let Err(payload) = told {
        write_line(&report);
        drop_payload(payload);
    }
    for dropped in [drop_caught(hook), drop_caught(report)] {
        if let Err(payload) = dropped {
            drop_payload(payload);
        }
    }
}

#[cfg(feature = "tracing")]
fn tell(report: &Report) {
    // Another crate may have enabled the feature in a program that listens to no events.
    if tracing::level_filters::LevelFilter::current() == tracing::level_filters::LevelFilter::OFF {
        return write_line(report);
    }
    tracing::error!(context = report.context, kind = ?report.kind, "{report}");
}

#[cfg(not(feature = "tracing"))]
fn tell(report: &Report) {
    write_line(report);
}

/// Not `eprintln!`, which panics where stderr is closed.
fn write_line(report: &Report) {
    use std::io::Write as _;
    // The error's own `Debug` may be what panicked.
    let line = catch_unwind(AssertUnwindSafe(|| format!("{report}\n"))).unwrap_or_else(|payload| {
        drop_payload(payload);
        format!("async context `{}`: {:?}\n", report.context, report.kind)
    });
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(feature = "testing")]
pub(crate) use tap::Tap;

/// Catches reports for a test, instead of the hook.
#[cfg(feature = "testing")]
mod tap {
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use super::Report;

    type Caught = Arc<Mutex<Vec<Arc<Report>>>>;

    static TAPS: Mutex<Vec<Caught>> = Mutex::new(Vec::new());

    pub(crate) struct Tap(Caught);

    impl Tap {
        pub(crate) fn open() -> Self {
            let caught = Caught::default();
            lock(&TAPS).push(Arc::clone(&caught));
            Self(caught)
        }

        pub(crate) fn close(self) -> Vec<Arc<Report>> {
            std::mem::take(&mut *lock(&self.0))
        }
    }

    impl Drop for Tap {
        fn drop(&mut self) {
            lock(&TAPS).retain(|caught| !Arc::ptr_eq(caught, &self.0));
        }
    }

    /// Returns the report if no tap is open.
    pub(super) fn catch(report: Report) -> Option<Report> {
        let taps = lock(&TAPS);
        if taps.is_empty() {
            return Some(report);
        }
        let report = Arc::new(report);
        for caught in taps.iter() {
            lock(caught).push(Arc::clone(&report));
        }
        None
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops a value of the user; a panic in its `Drop` is reported.
pub(crate) fn drop_quietly<T>(context: &'static str, value: T) {
    if let Err(payload) = drop_caught(value) {
        panic(context, Kind::Panicked, payload);
    }
}

/// A value of the user that drops together with another such value. Each of the two drops may
/// panic.
pub(crate) struct Apart<T> {
    context: &'static str,
    /// `None` once the value was taken, and while it drops.
    value: Option<T>,
}

impl<T> Apart<T> {
    pub(crate) fn new(context: &'static str, value: T) -> Self {
        Self {
            context,
            value: Some(value),
        }
    }

    pub(crate) fn value(&mut self) -> &mut T {
        self.value
            .as_mut()
            .expect("only `take` and the drop take it")
    }

    pub(crate) fn take(mut self) -> T {
        self.value.take().expect("only this and the drop take it")
    }
}

impl<T> Drop for Apart<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            drop_quietly(self.context, value);
        }
    }
}
