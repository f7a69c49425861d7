//! The contexts that are open or closing, for an operator.
//!
//! A [`Record`] is in the roster from its creation until it drops. Every exit in the background has
//! a record. An open context has a record if the roster was [on](set_listing) when its enter began.
//! Records hold no value of a user.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// All records, by number. Divided into parts, so that threads seldom contend for a lock.
static ROSTER: [Mutex<BTreeMap<u64, Weak<Record>>>; 16] =
    [const { Mutex::new(BTreeMap::new()) }; 16];

static NEXT: AtomicU64 = AtomicU64::new(0);

/// What a context is doing.
///
/// ```
/// use async_context_manager::{contexts::defer, detached, observe::Activity, prelude::*};
/// use std::io;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let guard = defer(async |_: &Outcome| Ok::<_, io::Error>(tokio::task::yield_now().await)).guard().await?;
/// drop(guard); // exits in the background
/// tokio::task::yield_now().await; // its exit begins
/// assert_eq!(detached::list()[0].activity(), Activity::Exiting);
/// # detached::drain().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// Its enter has not ended.
    Entering,
    /// Its body has not ended.
    InBody,
    /// Its exit waits for the end of other contexts.
    Waiting,
    /// Its exit has begun, or is about to.
    Exiting,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entering => "entering",
            Self::InBody => "in its body",
            Self::Waiting => "waiting",
            Self::Exiting => "exiting",
        })
    }
}

/// The contexts around a context, for the roster to ask.
pub(crate) trait Around: Send + Sync {
    /// Returns the names of the nearest contexts around this one that have not ended and whose
    /// names are known.
    fn names(&self) -> Vec<&'static str>;
}

pub(crate) struct Record {
    number: u64,
    name: &'static str,
    opened: Instant,
    state: Mutex<State>,
}

struct State {
    activity: Activity,
    since: Instant,
    waits_for: Option<&'static str>,
    is_detached: bool,
    around: Option<Arc<dyn Around>>,
    is_forced: bool,
    /// The waker of the exit in the background, which is woken when the exit is forced.
    waker: Option<Waker>,
}

impl Record {
    pub(crate) fn new(
        name: &'static str,
        activity: Activity,
        around: Option<Arc<dyn Around>>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let record = Arc::new(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            name,
            opened: now,
            state: Mutex::new(State {
                activity,
                since: now,
                waits_for: None,
                is_detached: false,
                around,
                is_forced: false,
                waker: None,
            }),
        });
        shard(record.number).insert(record.number, Arc::downgrade(&record));
        record
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the activity, and the name of the context that this one waits for, if it waits.
    pub(crate) fn set(&self, activity: Activity, waits_for: Option<&'static str>) {
        let mut state = self.lock();
        if state.activity != activity {
            state.activity = activity;
            state.since = Instant::now();
        }
        state.waits_for = waits_for;
    }

    pub(crate) fn set_around(&self, around: Arc<dyn Around>) {
        let old = self.lock().around.replace(around);
        drop(old);
    }

    pub(crate) fn detach(&self) {
        self.lock().is_detached = true;
    }

    /// Asks the background to give the context up. Returns `false` if the context is not in the
    /// background.
    fn force(&self) -> bool {
        let waker = {
            let mut state = self.lock();
            if !state.is_detached {
                return false;
            }
            state.is_forced = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    pub(crate) fn poll_forced(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_forced {
            return Poll::Ready(());
        }
        let old = match &mut state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            waker => waker.replace(cx.waker().clone()),
        };
        drop(state);
        drop(old);
        Poll::Pending
    }

    fn see(self: &Arc<Self>, now: Instant) -> Seen {
        let state = self.lock();
        let around = state.around.clone();
        let seen = Seen {
            number: self.number,
            name: self.name,
            activity: state.activity,
            age: now.saturating_duration_since(self.opened),
            lasts: now.saturating_duration_since(state.since),
            waits_for: state.waits_for,
            is_detached: state.is_detached,
            inside_of: Vec::new(),
            record: Arc::downgrade(self),
        };
        // `names` takes locks: no other lock may be held meanwhile.
        drop(state);
        let inside_of = around.map_or_else(Vec::new, |around| around.names());
        Seen { inside_of, ..seen }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        shard(self.number).remove(&self.number);
    }
}

fn shard(number: u64) -> MutexGuard<'static, BTreeMap<u64, Weak<Record>>> {
    let index = usize::try_from(number % 16).unwrap_or(0);
    ROSTER[index].lock().unwrap_or_else(PoisonError::into_inner)
}

/// A list of contexts, as they were at one moment, the oldest first. It dereferences to a slice of
/// [`Seen`].
///
/// The contexts go on meanwhile, so each is seen at a slightly different moment. `Display` gives a
/// line for each of the twenty oldest contexts, and counts the others by name. `{:#}` gives a line
/// for each context.
///
/// ```
/// use async_context_manager::{detached, prelude::*};
/// use std::io;
///
/// #[async_context]
/// async fn session() -> io::Result<()> {
///     let ((), _) = yield_!(());
///     std::future::pending().await
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> io::Result<()> {
/// drop(session().guard().await?); // exits in the background, and never ends
/// tokio::time::sleep(std::time::Duration::from_secs(125)).await;
///
/// let list = detached::list();
/// assert_eq!(list.len(), 1);
/// let text = list.to_string();
/// assert!(text.starts_with("1 context, the oldest first:\n  2m 05s  "));
/// assert!(text.ends_with("::session: exiting for 2m 05s, in the background"));
/// # std::process::exit(0);
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Snapshot(Vec<Seen>);

/// How many contexts are shown one by one.
const SHOWN: usize = 20;

impl Snapshot {
    /// Takes all records for which the function returns `true`.
    pub(crate) fn take(is_asked_for: impl Fn(&Seen) -> bool) -> Self {
        let mut all = Vec::new();
        for number in 0..16 {
            let records: Vec<_> = shard(number).values().filter_map(Weak::upgrade).collect();
            // Read after the records were collected, so that no record is newer than `now`.
            let now = Instant::now();
            let seen = records.iter().map(|record| record.see(now));
            all.extend(seen.filter(&is_asked_for));
            // Dropped here without the lock, because the drop of a record takes the lock.
            drop(records);
        }
        all.sort_by_key(|seen| seen.number);
        Self(all)
    }

    pub(crate) fn write_on_one_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, seen) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}{seen}")?;
        }
        self.write_rest("; ", f)
    }

    /// Writes how many contexts of each name are not shown, the most frequent first.
    fn write_rest(&self, separator: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.0.get(SHOWN..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let mut names = BTreeMap::<_, usize>::new();
        for seen in rest {
            *names.entry(seen.name).or_default() += 1;
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        write!(f, "{separator}and {} more", rest.len())?;
        for (index, (name, count)) in names.iter().take(SHOWN).enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            write!(f, "{before}{count} of {name}")?;
        }
        if names.len() > SHOWN {
            f.write_str(", …")?;
        }
        Ok(())
    }
}

impl Deref for Snapshot {
    type Target = [Seen];

    fn deref(&self) -> &[Seen] {
        &self.0
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { usize::MAX } else { SHOWN };
        match self.0.len() {
            0 => return f.write_str("no context"),
            1 => f.write_str("1 context, the oldest first:")?,
            count => write!(f, "{count} contexts, the oldest first:")?,
        }
        for seen in self.0.iter().take(shown) {
            write!(f, "\n{:>8}  {seen}", Age(seen.age).to_string())?;
        }
        if !f.alternate() {
            self.write_rest("\n          ", f)?;
        }
        Ok(())
    }
}

/// One context in a [`Snapshot`], as it was when the snapshot was taken.
///
/// `Display` writes one line.
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
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> io::Result<()> {
/// drop(session().guard().await?); // exits in the background
/// let seen = detached::list()[0].to_string();
/// assert!(seen.ends_with("::session: exiting for 0ms, in the background"));
/// # detached::drain().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Seen {
    number: u64,
    name: &'static str,
    activity: Activity,
    age: Duration,
    lasts: Duration,
    waits_for: Option<&'static str>,
    is_detached: bool,
    inside_of: Vec<&'static str>,
    record: Weak<Record>,
}

impl Seen {
    /// Returns the context's name: the path of the function under `#[async_context]`, or the name
    /// of the type.
    ///
    /// ```
    /// use async_context_manager::detached;
    ///
    /// let is_closing = detached::list().iter().any(|seen| seen.name() == "shop::transaction");
    /// assert!(!is_closing);
    /// ```
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns what the context was doing.
    ///
    /// ```
    /// use async_context_manager::{detached, observe::Activity};
    ///
    /// let is_waiting = |activity| activity == Activity::Waiting;
    /// assert!(!detached::list().iter().any(|seen| is_waiting(seen.activity())));
    /// ```
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// Returns how long the context had been doing what [`activity`](Self::activity) says.
    ///
    /// ```
    /// use async_context_manager::detached;
    /// use std::time::Duration;
    ///
    /// let hangs = |time| time > Duration::from_secs(60);
    /// assert!(!detached::list().iter().any(|seen| hangs(seen.lasts())));
    /// ```
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.lasts
    }

    /// Returns the time since the enter began. If the context was not
    /// [listed](crate::observe::set_listing) at that moment, returns the time since the context was
    /// given up.
    ///
    /// ```
    /// use async_context_manager::detached;
    ///
    /// let oldest = detached::list().first().map(|seen| seen.age());
    /// assert_eq!(oldest, None);
    /// ```
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Returns `true` if the context was going on in the background.
    ///
    /// ```
    /// use async_context_manager::detached;
    ///
    /// assert!(detached::list().iter().all(|seen| seen.is_detached()));
    /// ```
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.is_detached
    }

    /// Returns the name of the context that the exit was waiting for.
    ///
    /// ```
    /// use async_context_manager::detached;
    ///
    /// for seen in detached::list().iter() {
    ///     if let Some(other) = seen.waits_for() {
    ///         println!("{} waits for {other}", seen.name());
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn waits_for(&self) -> Option<&'static str> {
        self.waits_for
    }

    /// Returns the names of the contexts that this one was directly inside of. There are none at
    /// the root of a task, and several if this context was put
    /// [`inside`](crate::AsyncContextExt::inside) another one.
    ///
    /// Contexts that are neither [listed](crate::observe::set_listing) nor closing, or that have
    /// not reached their first await, are left out: the name of the context around them stands in
    /// their place.
    ///
    /// ```
    /// use async_context_manager::{contexts::ready, observe, prelude::*};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), String> {
    /// observe::set_listing(true);
    /// let outer = ready::<_, String>("outer");
    /// let list = outer.with(async |_| {
    ///     let inner = ready::<_, String>("inner").with(async |_| {
    ///         tokio::task::yield_now().await;
    ///         Ok(observe::open())
    ///     });
    ///     inner.await
    /// });
    /// assert_eq!(list.await?[1].inside_of(), ["async_context_manager::ready"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn inside_of(&self) -> &[&'static str] {
        &self.inside_of
    }

    pub(crate) fn force(&self) -> bool {
        self.record.upgrade().is_some_and(|record| record.force())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.activity)?;
        if let Some(other) = self.waits_for {
            write!(f, " for {other}")?;
        }
        write!(f, " for {}", Age(self.lasts))?;
        if self.is_detached {
            f.write_str(", in the background")?;
        }
        for (index, name) in self.inside_of.iter().enumerate() {
            let before = if index == 0 { ", inside of" } else { " and" };
            write!(f, "{before} {name}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A duration, formatted for an operator.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{}ms", self.0.as_millis()),
            1..60 => write!(f, "{seconds}s"),
            60..3600 => write!(f, "{}m {:02}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        }
    }
}
