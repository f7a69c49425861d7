//! Tells the observer, the roster and the traces what happens to a context.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::roster::{Activity, Around, Record};

use super::{BOUNDED, LISTED, OBSERVED, Step, WATCHING, tell};

/// Watches one context. `None` if nobody watches that context.
#[derive(Default)]
pub(crate) struct Watch(Option<Box<Speaker>>);

/// Tells what happens to a context. If a part of a context may have to go on alone, the context has
/// two speakers.
struct Speaker {
    watched: Shared,
    /// `true` for the speaker of a part, which is silent until the part goes on alone.
    is_part: bool,
    /// The place where the enter may have to wait. `None` once the context is in the background.
    entrance: Option<Box<dyn Entrance>>,
}

/// The steps of a context before its enter begins, while exits in the background are limited.
pub(crate) trait Entrance: Send {
    /// Ready when the enter may begin.
    fn poll(&mut self, name: &'static str, cx: &mut Context<'_>) -> Poll<()>;

    fn is_waiting(&self) -> bool;

    /// Lets the enter begin at once. `holds_something` is `true` if the context holds something
    /// that others may need.
    fn go_in(&mut self, holds_something: bool);

    /// Called when the enter has ended.
    fn is_in(&mut self);
}

/// What is created only for a context that is watched.
pub(crate) struct Extra {
    pub(crate) around: Option<Arc<dyn Around>>,
    pub(crate) entrance: Option<Box<dyn Entrance>>,
}

type Shared = Arc<Mutex<Watched>>;

/// Lets a part of a context, which may have to go on alone, be watched as that context. The part
/// has a coroutine of its own.
#[derive(Clone)]
pub(crate) struct Part(Option<Shared>);

impl Part {
    pub(crate) fn watch(&self) -> Watch {
        let watched = self.0.clone();
        Watch(watched.map(|watched| {
            Box::new(Speaker {
                watched,
                is_part: true,
                entrance: None,
            })
        }))
    }
}

struct Watched {
    context: &'static str,
    since: Instant,
    /// The time in enter, and in the body. Zero until they have ended.
    enter: Duration,
    body: Duration,
    outcome: Outcome,
    is_entered: bool,
    is_detached: bool,
    /// `true` once a part goes on alone: then only the part tells.
    is_left: bool,
    /// The bits of [`WATCHING`] when enter began.
    watching: u8,
    /// The entry in the roster, if the context is listed.
    record: Option<Arc<Record>>,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// While this exists, traces belong to the context.
#[cfg(feature = "tracing")]
pub(crate) type Traced = Option<tracing::span::EnteredSpan>;
#[cfg(not(feature = "tracing"))]
pub(crate) struct Traced;

impl Watch {
    #[inline]
    pub(crate) fn begin(context: &'static str, extra: impl FnOnce(bool, bool) -> Extra) -> Self {
        let watching = WATCHING.load(Ordering::Relaxed);
        let is_watched = watching != 0;
        #[cfg(feature = "tracing")]
        let is_watched = is_watched || tracing::span_enabled!(target: TARGET, tracing::Level::INFO);
        if is_watched {
            Self::of(context, watching, extra)
        } else {
            Self(None)
        }
    }

    #[cold]
    fn of(context: &'static str, watching: u8, extra: impl FnOnce(bool, bool) -> Extra) -> Self {
        let is_listed = watching & LISTED != 0;
        let extra = extra(is_listed, watching & BOUNDED != 0);
        let mut watched = Watched::new(context, watching);
        if is_listed {
            watched.record = Some(Record::new(context, Activity::Entering, extra.around));
        }
        Self(Some(Box::new(Speaker {
            watched: Arc::new(Mutex::new(watched)),
            is_part: false,
            entrance: extra.entrance,
        })))
    }

    #[inline]
    pub(crate) fn poll_entrance(&mut self, name: &'static str, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            None => Poll::Ready(()),
            Some(speaker) => speaker.poll_entrance(name, cx),
        }
    }

    /// Lets the enter begin at once, even if others have to wait.
    #[inline]
    pub(crate) fn go_in(&mut self, holds_something: bool) {
        if let Some(entrance) = self.0.as_mut().and_then(|it| it.entrance.as_mut()) {
            entrance.go_in(holds_something);
        }
    }

    /// Returns `true` if the enter must wait before it begins.
    pub(crate) fn is_at_the_door(&self) -> bool {
        let entrance = self
            .0
            .as_ref()
            .and_then(|speaker| speaker.entrance.as_ref());
        entrance.is_some_and(|entrance| entrance.is_waiting())
    }

    pub(crate) fn record(&self) -> Option<Arc<Record>> {
        self.0.as_ref()?.speak()?.record.clone()
    }

    /// Records which context the exit waits for, by its name, or that the exit no longer waits.
    #[cold]
    pub(crate) fn waits_for(&self, other: Option<&'static str>) {
        if let Some(record) = self.record() {
            let activity = other.map_or(Activity::Exiting, |_| Activity::Waiting);
            record.set(activity, other);
        }
    }

    #[inline]
    pub(crate) fn part(&self) -> Part {
        Part(self.0.as_ref().map(|speaker| Arc::clone(&speaker.watched)))
    }

    #[cfg(feature = "tracing")]
    #[inline]
    pub(crate) fn trace(&self) -> Traced {
        // A part has nothing to tell yet, but what it does must be traced.
        let span = lock(&self.0.as_ref()?.watched).span.clone();
        Some(span.entered())
    }

    #[cfg(not(feature = "tracing"))]
    #[expect(clippy::unused_self, reason = "it has no span")]
    pub(crate) fn trace(&self) -> Traced {
        Traced
    }

    #[inline]
    pub(crate) fn entered(&mut self, gave_value: bool) {
        if let Some(speaker) = &mut self.0 {
            if let Some(entrance) = &mut speaker.entrance {
                entrance.is_in();
            }
            speaker.entered(gave_value);
            if !gave_value {
                self.0 = None;
            }
        }
    }

    #[inline]
    pub(crate) fn end_body(&mut self, outcome: &Outcome) {
        if let Some(speaker) = &self.0 {
            speaker.end_body(outcome);
        }
    }

    #[inline]
    pub(crate) fn detached(&mut self) {
        if let Some(speaker) = &mut self.0 {
            speaker.entrance = None;
            speaker.detached();
        }
    }

    #[inline]
    pub(crate) fn exited(&mut self, exit_failed: bool) {
        if let Some(speaker) = self.0.take() {
            speaker.exited(exit_failed);
        }
    }

    /// Called when the context drops. If its code has ended and nothing was told before, the code
    /// panicked.
    #[inline]
    pub(crate) fn dropped(&mut self, has_ended: bool) {
        if let Some(speaker) = self.0.take() {
            speaker.dropped(has_ended);
        }
    }
}

/// The observer is told without the lock, because the observer is code of the user.
impl Speaker {
    #[cold]
    fn poll_entrance(&mut self, name: &'static str, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.entrance {
            Some(entrance) => entrance.poll(name, cx),
            None => Poll::Ready(()),
        }
    }

    /// Returns `None` if the other speaker must tell.
    fn speak(&self) -> Option<MutexGuard<'_, Watched>> {
        let watched = lock(&self.watched);
        (watched.is_left == self.is_part).then_some(watched)
    }

    fn entered(&self, gave_value: bool) {
        let Some(mut watched) = self.speak() else {
            return;
        };
        let (context, is_told) = (watched.context, watched.is_told());
        let step = watched.entered(gave_value);
        drop(watched);
        if is_told {
            tell(context, step);
        }
    }

    fn end_body(&self, outcome: &Outcome) {
        if let Some(mut watched) = self.speak() {
            watched.end_body(outcome);
        }
    }

    fn detached(&self) {
        if self.is_part {
            lock(&self.watched).is_left = true;
        }
        let Some(mut watched) = self.speak() else {
            return;
        };
        let (context, is_told) = (watched.context, watched.is_told());
        watched.detached();
        #[cfg(feature = "tracing")]
        let left = watched.leave_span();
        drop(watched);
        // Its drop may close the span and the spans around it, which runs code of the layers.
        #[cfg(feature = "tracing")]
        drop(left);
        if is_told {
            tell(context, Step::Detached);
        }
    }

    fn exited(&self, exit_failed: bool) {
        let Some(mut watched) = self.speak() else {
            return;
        };
        let context = watched.context;
        let exit = watched.exited(exit_failed);
        if !watched.is_told() {
            return;
        }
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
        let is_told = watched.is_told();
        drop(watched);
        if !is_entered {
            self.entered(false);
        } else if has_ended {
            self.exited(true);
        } else if is_told {
            tell(context, Step::Lost);
        }
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    fn new(context: &'static str, watching: u8) -> Self {
        Self {
            context,
            since: Instant::now(),
            enter: Duration::ZERO,
            body: Duration::ZERO,
            outcome: Outcome::Completed,
            is_entered: false,
            is_detached: false,
            is_left: false,
            watching,
            record: None,
            #[cfg(feature = "tracing")]
            span: span(context),
        }
    }

    fn is_told(&self) -> bool {
        self.watching & OBSERVED != 0
    }

    fn is_doing(&self, activity: Activity) {
        if let Some(record) = &self.record {
            record.set(activity, None);
        }
    }

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
            self.is_doing(Activity::InBody);
            self.record("phase", &format_args!("body"));
            Step::Entered { after }
        } else {
            Step::NotEntered
        }
    }

    fn end_body(&mut self, outcome: &Outcome) {
        let time = self.lap();
        self.body = time;
        self.outcome = outcome.share();
        self.is_doing(Activity::Exiting);
        self.record("body", &time);
        self.record("outcome", &format_args!("{}", name(outcome)));
        self.record("phase", &format_args!("exit"));
    }

    fn detached(&mut self) {
        self.is_detached = true;
        self.record("detached", &true);
    }

    /// Replaces the span by a new span, which keeps no other span open. Returns the old span.
    #[cfg(feature = "tracing")]
    fn leave_span(&mut self) -> tracing::Span {
        tracing::debug!(target: TARGET, parent: &self.span, "goes on in the background");
        let next = self.span.with_subscriber(|(id, subscriber)| {
            // The new span must have the same subscriber, wherever this runs.
            tracing::dispatcher::with_default(subscriber, || {
                let next = detached_span(self.context);
                next.follows_from(id);
                next
            })
        });
        let left = std::mem::replace(&mut self.span, next.unwrap_or_else(tracing::Span::none));
        if self.is_entered {
            self.record("enter", &self.enter);
            self.record("body", &self.body);
            self.record("outcome", &format_args!("{}", name(&self.outcome)));
            self.record("phase", &format_args!("exit"));
        }
        left
    }

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

    /// Emits an event with the fields, for layers that ignore fields which are recorded late.
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

pub(super) fn name(outcome: &Outcome) -> &'static str {
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

/// The span of a context that goes on in the background. It has no parent, because a parent stays
/// open as long as its children.
#[cfg(feature = "tracing")]
fn detached_span(context: &'static str) -> tracing::Span {
    use tracing::field::Empty;

    tracing::info_span!(
        target: TARGET,
        parent: None,
        "async_context",
        name = context,
        phase = "enter",
        outcome = Empty,
        enter = Empty,
        body = Empty,
        exit = Empty,
        detached = true,
        exit_failed = Empty,
    )
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}
