//! What every context does, for whoever counts or times it.
//!
//! One observer for the whole program is told when a context has been entered, when its exit has ended and
//! after which outcome, when its exit goes on in the background, and when it is lost. [`Counters`] is
//! one that is ready made:
//!
//! ```
//! use async_context_manager::observe::{self, Counters};
//! use async_context_manager::prelude::*;
//!
//! static COUNTERS: Counters = Counters::new();
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), String> {
//! observe::set_observer(|event| COUNTERS.count(event));
//! ready("a value").with(async |_value| Ok::<_, String>(())).await?;
//! observe::reset_observer();
//!
//! let counts = COUNTERS.counts();
//! assert_eq!((counts.entered, counts.completed, counts.in_use()), (1, 1, 0));
//! # Ok(())
//! # }
//! ```
//!
//! A context with a limit, another error or a box around it is one context. Several contexts that are one (a
//! `join`, a `Vec`, a stack) are told of each, and as one more by the name of the whole.
//!
//! Without an observer, a use of a context pays for one look at whether there is one. What goes *wrong*
//! where nobody is left to receive it is told to another hook: see [`report`](crate::report).
//!
//! With the feature `tracing` each context is also a span of level `INFO` with the name `async_context`, in
//! which its enter, its body and its exit run, the detached ones too. Its parent is the span that it was
//! entered in. Its fields: `name`; `phase`, which is `enter`, `body` or `exit`; `outcome`; `enter`, `body` and
//! `exit`, the time in each; `detached` and `exit_failed`, where they are true. Its end is an event of level
//! `DEBUG` as well, for layers that show no field which is recorded late.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::panic::drop_payload;

/// One step in the life of a context.
///
/// ```
/// use async_context_manager::observe::{self, Event, Step};
///
/// fn log(event: &Event<'_>) {
///     if let Step::Lost = event.step {
///         eprintln!("{}: its clean-up did not run", event.context);
///     }
/// }
/// observe::set_observer(log);
/// # observe::reset_observer();
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The context's name: the path of the function under `#[async_context]`, or the type's name.
    pub context: &'static str,
    /// What it has done.
    pub step: Step<'a>,
}

/// What an [`Event`] is about.
///
/// ```
/// # use async_context_manager::{observe::{self, Step}, prelude::*};
/// # use std::sync::{Mutex, atomic::{AtomicBool, Ordering::Relaxed}};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// static SLOW: Mutex<Vec<&str>> = Mutex::new(Vec::new());
///
/// observe::set_observer(|event| {
///     if let Step::Exited { body, .. } = &event.step {
///         if body.as_secs() > 5 {
///             SLOW.lock().unwrap().push(event.context);
///         }
///     }
/// });
/// let used = ready::<_, std::io::Error>(()).with(async |()| {
///     tokio::time::sleep(std::time::Duration::from_secs(6)).await;
///     Ok(())
/// });
/// used.await.unwrap();
/// assert_eq!(*SLOW.lock().unwrap(), ["async_context_manager::ready"]);
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// Enter has given the value: from now on exit is owed.
    #[non_exhaustive]
    Entered {
        /// The time in enter.
        after: Duration,
    },
    /// Enter has failed, has panicked, or was given up where that is safe: there is nothing to exit.
    NotEntered,
    /// Whoever used it has gone away: what is left of it goes on in the background.
    Detached,
    /// Exit has ended.
    #[non_exhaustive]
    Exited {
        /// How the body had ended.
        outcome: &'a Outcome,
        /// `true` if exit gave an error, or panicked.
        exit_failed: bool,
        /// `true` if exit ended in the background.
        detached: bool,
        /// The time in the body.
        body: Duration,
        /// The time in exit, and in the wait for exits inside of it.
        exit: Duration,
    },
    /// It was entered, and dropped before its exit had ended.
    Lost,
}

type Hook = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

static OBSERVER: RwLock<Option<Hook>> = RwLock::new(None);

/// Is there one? Read in each use of a context, and written almost never.
static IS_OBSERVED: AtomicBool = AtomicBool::new(false);

/// Replaces the observer. A context that is entered from now on is observed, from its enter to its end.
///
/// ```
/// # use async_context_manager::observe;
/// observe::set_observer(|event| println!("{event:?}"));
/// # observe::reset_observer();
/// ```
///
/// It is called inside of the steps themselves, on whichever thread they are: it must not block. An
/// observer that panics is caught, and the panic is dropped.
pub fn set_observer(observer: impl Fn(&Event<'_>) + Send + Sync + 'static) {
    replace_observer(Some(Arc::new(observer)));
}

/// Goes back to no observer. Contexts that were entered before are not observed any more, either.
///
/// ```
/// async_context_manager::observe::reset_observer();
/// ```
pub fn reset_observer() {
    replace_observer(None);
}

fn replace_observer(observer: Option<Hook>) {
    let mut place = OBSERVER.write().unwrap_or_else(PoisonError::into_inner);
    IS_OBSERVED.store(observer.is_some(), Ordering::Relaxed);
    let old = std::mem::replace(&mut *place, observer);
    drop(place);
    drop(old);
}

fn tell(context: &'static str, step: Step<'_>) {
    let observer = OBSERVER
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let Some(observer) = observer else { return };
    let event = Event { context, step };
    let told = catch_unwind(AssertUnwindSafe(move || observer(&event)));
    if let Err(payload) = told {
        drop_payload(payload);
    }
}

/// Counts what contexts do. `Counters::new` is `const`: it can be a `static`.
///
/// ```
/// use async_context_manager::observe::{self, Counters};
///
/// static COUNTERS: Counters = Counters::new();
/// observe::set_observer(|event| COUNTERS.count(event));
/// assert_eq!(COUNTERS.counts().lost, 0);
/// # observe::reset_observer();
/// ```
#[derive(Debug, Default)]
pub struct Counters {
    entered: AtomicU64,
    not_entered: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    cancelled: AtomicU64,
    exit_failed: AtomicU64,
    detached: AtomicU64,
    lost: AtomicU64,
}

/// What [`Counters`] have counted so far.
///
/// ```
/// use async_context_manager::observe::Counters;
///
/// assert_eq!(Counters::new().counts().entered, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Enters that gave a value.
    pub entered: u64,
    /// Enters that did not.
    pub not_entered: u64,
    /// Exits after a body that returned `Ok`.
    pub completed: u64,
    /// Exits after a body that returned an error.
    pub failed: u64,
    /// Exits after a body that panicked.
    pub panicked: u64,
    /// Exits after a body that was cancelled.
    pub cancelled: u64,
    /// Exits, of all these, that gave an error or panicked.
    pub exit_failed: u64,
    /// Contexts that went on in the background.
    pub detached: u64,
    /// Contexts that were entered, and dropped before their exit had ended.
    pub lost: u64,
}

impl Counts {
    /// How many contexts are between their enter and the end of their exit. Counts are read one after the
    /// other: while contexts are busy the answer is near, and not exact.
    ///
    /// ```
    /// assert_eq!(async_context_manager::observe::Counters::new().counts().in_use(), 0);
    /// ```
    #[must_use]
    pub fn in_use(&self) -> u64 {
        let over = self.completed + self.failed + self.panicked + self.cancelled + self.lost;
        self.entered.saturating_sub(over)
    }
}

impl Counters {
    /// All at zero.
    ///
    /// ```
    /// # use async_context_manager::observe::Counters;
    /// static COUNTERS: Counters = Counters::new();
    /// assert_eq!(COUNTERS.counts().entered, 0);
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entered: AtomicU64::new(0),
            not_entered: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            exit_failed: AtomicU64::new(0),
            detached: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Counts one event: to be called by the [observer](set_observer).
    ///
    /// ```
    /// # use async_context_manager::observe::{self, Counters};
    /// # static COUNTERS: Counters = Counters::new();
    /// observe::set_observer(|event| COUNTERS.count(event));
    /// # observe::reset_observer();
    /// ```
    pub fn count(&self, event: &Event<'_>) {
        let counter = match &event.step {
            Step::Entered { .. } => &self.entered,
            Step::NotEntered => &self.not_entered,
            Step::Detached => &self.detached,
            Step::Lost => &self.lost,
            Step::Exited {
                outcome,
                exit_failed,
                ..
            } => {
                if *exit_failed {
                    self.exit_failed.fetch_add(1, Ordering::Relaxed);
                }
                match outcome {
                    Outcome::Completed => &self.completed,
                    Outcome::Failed(_) => &self.failed,
                    Outcome::Panicked(_) => &self.panicked,
                    Outcome::Cancelled => &self.cancelled,
                }
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been counted.
    ///
    /// ```
    /// # use async_context_manager::observe::Counters;
    /// let counts = Counters::new().counts();
    /// assert_eq!((counts.completed, counts.cancelled), (0, 0));
    /// ```
    #[must_use]
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            // What is over is read before what was begun: never more of it.
            completed: get(&self.completed),
            failed: get(&self.failed),
            panicked: get(&self.panicked),
            cancelled: get(&self.cancelled),
            lost: get(&self.lost),
            exit_failed: get(&self.exit_failed),
            detached: get(&self.detached),
            not_entered: get(&self.not_entered),
            entered: get(&self.entered),
        }
    }
}

/// One context, watched. `None` if nobody watches.
#[derive(Default)]
pub(crate) struct Watch(Option<Box<Speaker>>);

/// One of those who may tell of a context: there are two where a part of it may have to go on alone.
struct Speaker {
    watched: Shared,
    /// It says nothing before the part goes on alone.
    is_part: bool,
}

type Shared = Arc<Mutex<Watched>>;

/// What watches a context, for a part of it that may have to go on alone: two coroutines, and one context.
#[derive(Clone)]
pub(crate) struct Part(Option<Shared>);

impl Part {
    pub(crate) fn watch(&self) -> Watch {
        let watched = self.0.clone();
        Watch(watched.map(|watched| {
            Box::new(Speaker {
                watched,
                is_part: true,
            })
        }))
    }
}

struct Watched {
    context: &'static str,
    /// When the phase began that it is in.
    since: Instant,
    /// The time in enter, and in the body; none before their end.
    enter: Duration,
    body: Duration,
    outcome: Outcome,
    is_entered: bool,
    is_detached: bool,
    /// A part of it goes on alone: the rest has nothing more to say.
    is_left: bool,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// While it is there, what is traced belongs to the context.
#[cfg(feature = "tracing")]
pub(crate) type Traced = Option<tracing::span::EnteredSpan>;
#[cfg(not(feature = "tracing"))]
pub(crate) struct Traced;

impl Watch {
    /// A context whose enter begins now.
    #[inline]
    pub(crate) fn begin(context: &'static str) -> Self {
        let is_watched = IS_OBSERVED.load(Ordering::Relaxed);
        #[cfg(feature = "tracing")]
        let is_watched = is_watched || tracing::span_enabled!(target: TARGET, tracing::Level::INFO);
        if is_watched {
            Self(Some(Box::new(Speaker {
                watched: Arc::new(Mutex::new(Watched::new(context))),
                is_part: false,
            })))
        } else {
            Self(None)
        }
    }

    #[inline]
    pub(crate) fn part(&self) -> Part {
        Part(self.0.as_ref().map(|speaker| Arc::clone(&speaker.watched)))
    }

    #[cfg(feature = "tracing")]
    #[inline]
    pub(crate) fn trace(&self) -> Traced {
        let span = self.0.as_ref()?.speak()?.span.clone();
        Some(span.entered())
    }

    #[cfg(not(feature = "tracing"))]
    #[expect(clippy::unused_self, reason = "it has no span")]
    pub(crate) fn trace(&self) -> Traced {
        Traced
    }

    /// Enter has ended.
    #[inline]
    pub(crate) fn entered(&mut self, gave_value: bool) {
        if let Some(speaker) = &self.0 {
            speaker.entered(gave_value);
            if !gave_value {
                self.0 = None;
            }
        }
    }

    /// The body has ended.
    #[inline]
    pub(crate) fn returned(&mut self, outcome: &Outcome) {
        if let Some(speaker) = &self.0 {
            speaker.returned(outcome);
        }
    }

    /// The rest goes on in the background.
    #[inline]
    pub(crate) fn detached(&mut self) {
        if let Some(speaker) = &self.0 {
            speaker.detached();
        }
    }

    /// Exit has ended.
    #[inline]
    pub(crate) fn exited(&mut self, exit_failed: bool) {
        if let Some(speaker) = self.0.take() {
            speaker.exited(exit_failed);
        }
    }

    /// The context drops. Had its code ended, by a panic if nothing was said before?
    #[inline]
    pub(crate) fn dropped(&mut self, has_ended: bool) {
        if let Some(speaker) = self.0.take() {
            speaker.dropped(has_ended);
        }
    }
}

/// The observer is told without the lock: it is the user's.
impl Speaker {
    /// `None` if it is not for this one to tell.
    fn speak(&self) -> Option<MutexGuard<'_, Watched>> {
        let watched = lock(&self.watched);
        (watched.is_left == self.is_part).then_some(watched)
    }

    fn entered(&self, gave_value: bool) {
        let Some(mut watched) = self.speak() else {
            return;
        };
        let context = watched.context;
        let step = watched.entered(gave_value);
        drop(watched);
        tell(context, step);
    }

    fn returned(&self, outcome: &Outcome) {
        if let Some(mut watched) = self.speak() {
            watched.returned(outcome);
        }
    }

    fn detached(&self) {
        if self.is_part {
            lock(&self.watched).is_left = true;
        }
        let Some(mut watched) = self.speak() else {
            return;
        };
        let context = watched.context;
        watched.detached();
        drop(watched);
        tell(context, Step::Detached);
    }

    fn exited(&self, exit_failed: bool) {
        let Some(mut watched) = self.speak() else {
            return;
        };
        let context = watched.context;
        let exit = watched.exited(exit_failed);
        let outcome = watched.outcome.share();
        let (detached, body) = (watched.is_detached, watched.body);
        drop(watched);
        let step = Step::Exited {
            outcome: &outcome,
            exit_failed,
            detached,
            body,
            exit,
        };
        tell(context, step);
    }

    fn dropped(&self, has_ended: bool) {
        let Some(watched) = self.speak() else {
            return;
        };
        let (context, is_entered) = (watched.context, watched.is_entered);
        drop(watched);
        if !is_entered {
            self.entered(false);
        } else if has_ended {
            self.exited(true);
        } else {
            tell(context, Step::Lost);
        }
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    fn new(context: &'static str) -> Self {
        Self {
            context,
            since: Instant::now(),
            enter: Duration::ZERO,
            body: Duration::ZERO,
            outcome: Outcome::Completed,
            is_entered: false,
            is_detached: false,
            is_left: false,
            #[cfg(feature = "tracing")]
            span: span(context),
        }
    }

    /// The time in the phase that ends now.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let time = now - self.since;
        self.since = now;
        time
    }

    fn entered(&mut self, gave_value: bool) -> Step<'static> {
        let after = self.lap();
        self.enter = after;
        self.record("enter", &after);
        if gave_value {
            self.is_entered = true;
            self.record("phase", &format_args!("body"));
            Step::Entered { after }
        } else {
            Step::NotEntered
        }
    }

    fn returned(&mut self, outcome: &Outcome) {
        let time = self.lap();
        self.body = time;
        self.outcome = outcome.share();
        self.record("body", &time);
        self.record("outcome", &format_args!("{}", name(outcome)));
        self.record("phase", &format_args!("exit"));
    }

    fn detached(&mut self) {
        self.is_detached = true;
        self.record("detached", &true);
    }

    /// Gives the time in exit.
    fn exited(&mut self, exit_failed: bool) -> Duration {
        let time = self.lap();
        self.record("exit", &time);
        if exit_failed {
            self.record("exit_failed", &true);
        }
        #[cfg(feature = "tracing")]
        self.trace_end(time, exit_failed);
        time
    }

    /// For layers that show no field which is recorded late.
    #[cfg(feature = "tracing")]
    fn trace_end(&self, exit: Duration, exit_failed: bool) {
        tracing::debug!(
            target: TARGET,
            parent: &self.span,
            outcome = name(&self.outcome),
            enter = ?self.enter,
            body = ?self.body,
            ?exit,
            detached = self.is_detached,
            exit_failed,
            "exited",
        );
    }

    #[cfg(feature = "tracing")]
    fn record(&self, field: &str, value: &dyn fmt::Debug) {
        self.span.record(field, tracing::field::debug(value));
    }

    #[cfg(not(feature = "tracing"))]
    #[expect(clippy::unused_self, reason = "it has no span")]
    fn record(&self, _field: &str, _value: &dyn fmt::Debug) {}
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Failed(_) => "failed",
        Outcome::Panicked(_) => "panicked",
        Outcome::Cancelled => "cancelled",
    }
}

#[cfg(feature = "tracing")]
const TARGET: &str = "async_context_manager";

#[cfg(feature = "tracing")]
fn span(context: &'static str) -> tracing::Span {
    use tracing::field::Empty;

    tracing::info_span!(
        target: TARGET,
        "async_context",
        name = context,
        phase = "enter",
        outcome = Empty,
        enter = Empty,
        body = Empty,
        exit = Empty,
        detached = Empty,
        exit_failed = Empty,
    )
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}
