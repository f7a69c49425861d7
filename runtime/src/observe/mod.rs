//! Counts and times what every context does.
//!
//! The program has one observer. The observer is told when a context has been entered, when its
//! exit has ended and after which outcome, when its exit goes on in the background, and when the
//! context is lost. [`Counters`] is a ready-made observer:
//!
//! ```
//! use async_context_manager::observe::{self, Counters};
//! use async_context_manager::{contexts::ready, prelude::*};
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
//! A context with a limit, another error or a box around it counts as one context. For a `join`, a
//! `Vec` or a stack, the observer is told of each context in it, and of the whole, which has a name
//! of its own.
//!
//! Without an observer, a use of a context only checks whether there is one. Errors that no caller
//! is left to receive go to another hook: see [`report`](crate::report).
//!
//! With the feature `tracing`, each context is also a span of level `INFO` with the name
//! `async_context`. Its enter, its body and its exit run in that span. The parent is the span that
//! the context was entered in. The fields are: `name`; `phase`, which is `enter`, `body` or `exit`;
//! `outcome`; `enter`, `body` and `exit`, the time in each; `detached` and `exit_failed`, if they
//! are true. The end of a context is also an event of level `DEBUG`, for layers that ignore fields
//! which are recorded late.
//!
//! A context that goes on in the background leaves its span, which closes. Otherwise the span of a
//! request would last as long as its slowest exit. The context goes on in a second span, with the
//! same fields and no parent. The second span [follows
//! from](https://docs.rs/tracing/latest/tracing/struct.Span.html#method.follows_from) the first
//! one.
//!
//! With the feature `tracing`, and in a build with `--cfg tokio_unstable`, the task of a detached
//! exit has the name of its context, for tokio-console.

mod counters;
#[cfg(feature = "metrics")]
mod meter;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::outcome::Outcome;
use crate::panic::drop_payload;

pub use crate::roster::{Activity, Seen, Snapshot};
pub use counters::{Counters, Counts};
#[cfg(feature = "metrics")]
pub use meter::meter;
pub(crate) use watch::{Entrance, Extra, Part, Traced, Watch};

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
    /// The name of the context: the path of the function under `#[async_context]`, or the type's
    /// name.
    pub context: &'static str,
    /// What the context has done.
    pub step: Step<'a>,
}

/// What an [`Event`] is about.
///
/// ```
/// # use async_context_manager::{contexts::ready, observe::{self, Step}, prelude::*};
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
    /// Enter has returned a value: from now on the context must exit.
    #[non_exhaustive]
    Entered {
        /// The time in enter.
        after: Duration,
    },
    /// Enter has failed, has panicked, or was given up where that is allowed. No exit follows.
    NotEntered,
    /// The context's user has gone: the rest of the context goes on in the background.
    Detached,
    /// Exit has ended.
    #[non_exhaustive]
    Exited {
        /// How the body ended.
        outcome: &'a Outcome,
        /// `true` if exit returned an error, panicked, or was cut off.
        exit_failed: bool,
        /// `true` if the context's user had gone before exit ended, so that exit ended in the
        /// background.
        detached: bool,
        /// The time in the body.
        body: Duration,
        /// The time in exit, including the wait for other exits.
        exit: Duration,
    },
    /// The context was entered, and dropped before its exit had ended.
    Lost,
}

type Hook = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

static OBSERVER: RwLock<Option<Hook>> = RwLock::new(None);

/// The reasons to watch contexts. Every use of a context reads them; they are seldom written.
static WATCHING: AtomicU8 = AtomicU8::new(0);

/// A bit of [`WATCHING`]: there is an observer.
const OBSERVED: u8 = 1;

/// A bit of [`WATCHING`]: contexts are listed in the roster.
const LISTED: u8 = 2;

/// A bit of [`WATCHING`]: enters may have to wait at the door.
const BOUNDED: u8 = 4;

pub(crate) fn bound(is_on: bool) {
    watch_for(BOUNDED, is_on);
}

fn watch_for(what: u8, is_on: bool) {
    if is_on {
        WATCHING.fetch_or(what, Ordering::Relaxed);
    } else {
        WATCHING.fetch_and(!what, Ordering::Relaxed);
    }
}

/// Replaces the observer. Contexts whose enter begins from now on are observed, from enter to end.
/// The new observer is also told the later steps of contexts whose enter began under an earlier
/// observer.
///
/// ```
/// # use async_context_manager::observe;
/// observe::set_observer(|event| println!("{event:?}"));
/// # observe::reset_observer();
/// ```
///
/// The observer is called during the steps themselves, on the thread that runs them, so it must not
/// block. A panic of the observer is caught and dropped.
pub fn set_observer(observer: impl Fn(&Event<'_>) + Send + Sync + 'static) {
    replace_observer(Some(Arc::new(observer)));
}

/// Removes the observer. Nothing is told until another observer is set.
///
/// ```
/// async_context_manager::observe::reset_observer();
/// ```
pub fn reset_observer() {
    replace_observer(None);
}

fn replace_observer(observer: Option<Hook>) {
    let mut place = OBSERVER.write().unwrap_or_else(PoisonError::into_inner);
    watch_for(OBSERVED, observer.is_some());
    let old = std::mem::replace(&mut *place, observer);
    drop(place);
    drop(old);
}

/// Turns the list of [`open`] contexts on or off. It is off unless this function is called.
///
/// While the list is off, it costs nothing. While it is on, a use of a context allocates, reads the
/// clock, and takes locks with little contention. Together this takes less than a microsecond. A
/// server can have it on in production. A context that was entered while the list was off is not
/// listed, unless the context goes on in the background.
///
/// ```
/// use async_context_manager::{contexts::ready, observe, prelude::*};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), String> {
/// observe::set_listing(true);
/// let open = ready::<_, String>(()).with(async |()| Ok(observe::open().len())).await?;
/// assert_eq!(open, 1);
/// # observe::set_listing(false);
/// # Ok(())
/// # }
/// ```
pub fn set_listing(is_on: bool) {
    watch_for(LISTED, is_on);
}

/// Returns all contexts that are open or closing: those that were entered while the list was
/// [on](set_listing), and all those that go on in the background.
///
/// Use it in an endpoint of a server, or at a signal, to print the list. Any thread may call this
/// function. It visits each context, so a program with a hundred thousand open contexts should not
/// call it ten times a second.
///
/// ```
/// use async_context_manager::observe::{self, Activity};
/// use async_context_manager::{contexts::ready, prelude::*};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), String> {
/// observe::set_listing(true);
/// let open = ready::<_, String>(()).with(async |()| Ok(observe::open())).await?;
/// assert_eq!(open[0].name(), "async_context_manager::ready");
/// assert_eq!(open[0].activity(), Activity::InBody);
/// # observe::set_listing(false);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn open() -> Snapshot {
    Snapshot::take(|_| true)
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
