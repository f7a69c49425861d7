//! The end of a program: the app is told to end, and is dropped if it has not ended after a grace
//! period. Then the program *drains*: it waits for the exits in the background.
//!
//! ```no_run
//! use async_context_manager::shutdown;
//!
//! # async fn serve() -> std::io::Result<()> { Ok(()) }
//! # async fn finish() {}
//! async fn app() -> std::io::Result<()> {
//!     tokio::select! {
//!         served = serve() => served,
//!         () = shutdown::told() => Ok(finish().await),
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> shutdown::Ended<std::io::Result<()>> {
//!     shutdown::run(app()).await
//! }
//! ```
//!
//! | what happens | time limit | exit code |
//! | --- | --- | --- |
//! | The app ends by itself. | none | the app's own: 0, or 1 for an error |
//! | A signal (Ctrl-C, `SIGTERM`) [tells](told) the app to end, and the app ends. | the [grace](Times::grace): 15 s | the app's own |
//! | The app has not ended after the grace, and is dropped. | | [`DROPPED`]: 124 |
//! | After each of these, the program [drains](crate::detached::drain). | the [limit](Times::drain): 10 s | as above |
//! | After the drain, some exits are left. They are [reported](crate::report::Kind::Undrained) by name. | | [`UNDRAINED`]: 125 |
//! | A second signal ends the process at once. | | 128 plus the number of the signal: 130 or 143 |
//! | The app panics. The panic goes on after the drain. | | 101 |
//!
//! An orchestrator must wait longer than the sum of the two times before it kills the process
//! (Kubernetes: 30 s).
//!
//! Tasks of `tokio::spawn` that nobody joins end with the runtime. Keep such tasks in a group made
//! by [`tasks`](crate::tasks), which the app's future owns.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::process::{ExitCode, Termination};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{OnceLock, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io, process, thread};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::detached;
use crate::fallback;
use crate::panic::catch;
use crate::report::{self, Kind};
use crate::time_limit::{check_timer, within};

/// The exit code of a program whose app was dropped, because it had not ended after the grace.
///
/// ```
/// assert_eq!(async_context_manager::shutdown::DROPPED, 124); // as `timeout` does
/// ```
pub const DROPPED: u8 = 124;

/// The exit code of a program that left exits behind, because they had not ended within the limit.
///
/// ```
/// assert_eq!(async_context_manager::shutdown::UNDRAINED, 125);
/// ```
pub const UNDRAINED: u8 = 125;

/// The name in reports.
const NAME: &str = "async_context_manager::shutdown";

/// Runs the whole program with the default [`Times`], and ends it gracefully.
///
/// ```
/// use async_context_manager::{contexts::ready, prelude::*, shutdown};
/// use std::io;
///
/// async fn app() -> io::Result<()> {
///     ready::<_, io::Error>(()).with(async |()| Ok(())).await
/// }
///
/// #[tokio::main]
/// async fn main() -> shutdown::Ended<io::Result<()>> {
///     shutdown::run(app()).await
/// }
/// ```
///
/// From the first poll of `run` on, a signal no longer ends the process on the spot. The first
/// signal tells the app to end, and the second one ends the process at once, by
/// `std::process::exit`. After `run` has returned, the next signal ends the process at once, even
/// if the runtime hangs in its shutdown.
///
/// # Panics
///
/// If the app panics. The app's panic goes on after the drain. Or if the tokio runtime has no
/// timer. Then the app does not begin.
///
/// # Cancel safety
///
/// If the future is dropped, the app drops, and its exits are not awaited.
pub async fn run<F: Future>(app: F) -> Ended<F::Output> {
    Times::new().run(app).await
}

/// Returns a token: a future that ends when the program must end, cheap to clone and to keep.
///
/// The future is ready once a signal has come while [`run`] was running the program, or once
/// [`tell`] was called. It stays ready.
///
/// ```
/// use async_context_manager::shutdown;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let told = shutdown::told();
/// let worker = tokio::spawn(async move {
///     let mut jobs = 0;
///     while !told.is_told() {
///         jobs += 1;
///         tokio::task::yield_now().await;
///     }
///     jobs
/// });
/// tokio::task::yield_now().await;
/// shutdown::tell();
/// assert!(worker.await.unwrap() > 0);
/// # }
/// ```
#[must_use]
pub fn told() -> Told {
    SIGNALS.told()
}

/// Tells the program to end, as the first signal does: for instance from an endpoint for operators.
///
/// ```
/// use async_context_manager::shutdown;
///
/// shutdown::tell();
/// assert!(shutdown::told().is_told());
/// ```
pub fn tell() {
    SIGNALS.tell();
}

/// See [`told`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let told: async_context_manager::shutdown::Told = async_context_manager::shutdown::told();
/// let clone = told.clone();
/// async_context_manager::shutdown::tell();
/// told.await;
/// clone.await;
/// # }
/// ```
pub struct Told {
    signals: &'static Signals,
    wait: Option<Pin<Box<Notified<'static>>>>,
}

impl Told {
    /// Returns `true` if the program must end.
    ///
    /// ```
    /// assert!(!async_context_manager::shutdown::told().is_told());
    /// ```
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.signals.is_told.load(Ordering::Acquire)
    }
}

impl Clone for Told {
    fn clone(&self) -> Self {
        self.signals.told()
    }
}

impl Future for Told {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let notify = &self.signals.change;
        loop {
            // Created before the check of `is_told`: otherwise a `tell` between the check and the
            // wait would be missed.
            let wait = self.wait.get_or_insert_with(|| Box::pin(notify.notified()));
            let woken = wait.as_mut().poll(cx).is_ready();
            if woken {
                self.wait = None;
            }
            if self.is_told() {
                return Poll::Ready(());
            }
            if !woken {
                return Poll::Pending;
            }
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Told").field(&self.is_told()).finish()
    }
}

/// How long each part of the end of a program may take.
///
/// ```
/// use async_context_manager::shutdown::{Ended, Times};
/// use std::time::Duration;
///
/// # async fn app() {}
/// #[tokio::main]
/// async fn main() -> Ended<()> {
///     let times = Times::new().grace(Duration::from_secs(60)).drain(Duration::from_secs(30));
///     times.run(app()).await
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "times do nothing before `run`"]
pub struct Times {
    grace: Duration,
    drain: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    /// Returns the default times: a grace of 15 s, and 10 s to drain. The sum is less than the 30 s
    /// that Kubernetes waits.
    ///
    /// ```
    /// use async_context_manager::shutdown::Times;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Times::new(), Times::new().grace(Duration::from_secs(15)));
    /// ```
    pub const fn new() -> Self {
        Self {
            grace: Duration::from_secs(15),
            drain: Duration::from_secs(10),
        }
    }

    /// Sets how long the app may take to end after it was told to end. After this time, the app is
    /// dropped.
    ///
    /// ```
    /// # use async_context_manager::shutdown::Times;
    /// let times = Times::new().grace(std::time::Duration::ZERO); // dropped as soon as it is told
    /// # assert_ne!(times, Times::new());
    /// ```
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how long the exits in the background may take, once the app has ended or was dropped.
    ///
    /// ```
    /// # use async_context_manager::shutdown::Times;
    /// let times = Times::new().drain(std::time::Duration::MAX); // however long they take
    /// # assert_ne!(times, Times::new());
    /// ```
    pub const fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Runs the whole program, and ends it gracefully: see [`run`](run()).
    ///
    /// ```
    /// # use async_context_manager::shutdown::{How, Times};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let ended = Times::new().run(async { 42 }).await;
    /// assert_eq!((ended.how(), ended.left(), ended.into_output()), (How::ByItself, 0, Some(42)));
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the app panics. The app's panic goes on after the drain. Or if the tokio runtime has no
    /// timer. Then the app does not begin.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the app drops, and its exits are not awaited.
    pub async fn run<F: Future>(self, app: F) -> Ended<F::Output> {
        check_timer();
        listen();
        self.run_with(app, &SIGNALS).await
    }

    async fn run_with<F: Future>(self, app: F, signals: &'static Signals) -> Ended<F::Output> {
        let _running = signals.begin();
        // Boxed, because the future of a whole program is large.
        let mut app = Box::pin(catch(app));
        let mut told = signals.told();
        let first = poll_fn(|cx| match app.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => Pin::new(&mut told).poll(cx).map(|()| None),
        });
        let (how, output) = match first.await {
            Some(output) => (How::ByItself, Some(output)),
            // Without a grace, the app is not polled again.
            None if self.grace.is_zero() => (How::Dropped, None),
            None => match within(self.grace, app.as_mut()).await {
                Some(output) => (How::Told, Some(output)),
                None => (How::Dropped, None),
            },
        };
        report::drop_quietly(NAME, app);
        let drained = within(self.drain, detached::drain()).await;
        let left = match drained {
            Some(()) => 0,
            None => detached::left(),
        };
        let output = output
            .map(|output| output.unwrap_or_else(|payload| std::panic::resume_unwind(payload)));
        Ended { how, left, output }
    }
}

/// How the app ended.
///
/// ```
/// use async_context_manager::shutdown::{self, How};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// shutdown::tell();
/// let ended = shutdown::run(async { tokio::task::yield_now().await }).await;
/// assert_eq!(ended.how(), How::Told);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// The app ended before it was told to, or in the very poll in which it learned that it must.
    ByItself,
    /// The app was told to end, and ended within the grace.
    Told,
    /// The app was told to end, had not ended after the grace, and was dropped.
    Dropped,
}

/// How the program ended. `main` returns it, so that the process has the right exit code.
///
/// ```
/// use async_context_manager::shutdown::{self, Ended};
///
/// async fn app() -> Result<(), String> {
///     Ok(())
/// }
///
/// #[tokio::main]
/// async fn main() -> Ended<Result<(), String>> {
///     shutdown::run(app()).await
/// }
/// ```
#[derive(Debug)]
#[must_use = "it is for `main` to return: it has the exit code"]
pub struct Ended<T> {
    how: How,
    left: usize,
    output: Option<T>,
}

impl<T> Ended<T> {
    /// Returns how the app ended.
    ///
    /// ```
    /// # use async_context_manager::shutdown::{self, How};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(shutdown::run(async {}).await.how(), How::ByItself);
    /// # }
    /// ```
    #[must_use]
    pub fn how(&self) -> How {
        self.how
    }

    /// Returns the number of exits that were left in the background.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(async_context_manager::shutdown::run(async {}).await.left(), 0);
    /// # }
    /// ```
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }

    /// Returns what the app returned. `None` if the app was dropped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let ended = async_context_manager::shutdown::run(async { 42 }).await;
    /// assert_eq!(ended.into_output(), Some(42));
    /// # }
    /// ```
    #[must_use]
    pub fn into_output(self) -> Option<T> {
        self.output
    }
}

impl<T: Termination> Termination for Ended<T> {
    fn report(self) -> ExitCode {
        // Called even if exits are left, because the call writes an error of the app to stderr.
        let own = self.output.map(Termination::report);
        match own {
            _ if self.left > 0 => ExitCode::from(UNDRAINED),
            Some(own) => own,
            None => ExitCode::from(DROPPED),
        }
    }
}

struct Signals {
    is_told: AtomicBool,
    change: Notify,
    /// The number of running programs that end when they are told.
    running: AtomicUsize,
}

static SIGNALS: Signals = Signals::new();

/// What the process must do at a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// End gracefully.
    First,
    /// End at once.
    Second,
}

impl Signals {
    const fn new() -> Self {
        Self {
            is_told: AtomicBool::new(false),
            change: Notify::const_new(),
            running: AtomicUsize::new(0),
        }
    }

    fn told(&'static self) -> Told {
        Told {
            signals: self,
            wait: None,
        }
    }

    fn tell(&self) -> bool {
        let is_first = !self.is_told.swap(true, Ordering::AcqRel);
        self.change.notify_waiters();
        is_first
    }

    fn begin(&'static self) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(self)
    }

    /// Records a signal, and returns what the process must do. The first signal tells the running
    /// programs to end. If no program is running, the first signal ends the process as the second
    /// one does.
    fn signal(&self, has_signalled: &mut bool) -> At {
        let is_first = !std::mem::replace(has_signalled, true);
        if is_first && self.running.load(Ordering::Acquire) > 0 {
            self.tell();
            At::First
        } else {
            At::Second
        }
    }
}

struct Running(&'static Signals);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes the signals over from the operating system's defaults. A thread that does nothing else
/// waits for them, so that the second signal is seen wherever the program hangs.
fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();

    LISTENING.get_or_init(|| {
        let Some(runtime) = fallback::start("async-context-manager-signals", || ()) else {
            let error = io::Error::other("the system has no thread that could wait for signals");
            return report::error(NAME, Kind::EnterFailed, error.into());
        };
        let _here = runtime.enter();
        match source() {
            Ok(source) => {
                runtime.spawn(obey(source, &SIGNALS, end_at_once));
            }
            Err(error) => report::error(NAME, Kind::EnterFailed, error.into()),
        }
    });
}

/// Obeys the signals. The source returns the number of each signal.
async fn obey(mut source: impl Source, signals: &'static Signals, end_at_once: impl Fn(u8)) {
    let mut has_signalled = false;
    while let Some(signal) = source.next().await {
        match signals.signal(&mut has_signalled) {
            At::First => {}
            At::Second => end_at_once(signal),
        }
    }
}

/// How long the report of what is open may take at the second signal.
const LAST_REPORT: Duration = Duration::from_secs(1);

fn end_at_once(signal: u8) {
    // On another thread, because the program may hang in the hook for reports, or in what the hook
    // needs.
    let (send, told) = mpsc::channel();
    let telling = move || {
        report::undrained(crate::observe::open());
        let _ = send.send(());
    };
    if thread::Builder::new().spawn(telling).is_ok() {
        let _ = told.recv_timeout(LAST_REPORT);
    }
    process::exit(128 + i32::from(signal));
}

trait Source: Send {
    fn next(&mut self) -> impl Future<Output = Option<u8>> + Send;
}

#[cfg(unix)]
fn source() -> io::Result<impl Source + 'static> {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    struct Both {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Source for Both {
        async fn next(&mut self) -> Option<u8> {
            poll_fn(|cx| {
                if self.interrupt.poll_recv(cx).is_ready() {
                    return Poll::Ready(Some(2));
                }
                self.terminate.poll_recv(cx).map(|_| Some(15))
            })
            .await
        }
    }

    Ok(Both {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
    })
}

#[cfg(windows)]
fn source() -> io::Result<impl Source + 'static> {
    use tokio::signal::windows::{CtrlC, ctrl_c};

    struct Interrupt(CtrlC);

    impl Source for Interrupt {
        async fn next(&mut self) -> Option<u8> {
            self.0.recv().await.map(|()| 2)
        }
    }

    ctrl_c().map(Interrupt)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
    use tokio::task::yield_now;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{AsyncContextExt, Outcome, defer};

    const SECOND: Duration = Duration::from_secs(1);

    /// The background belongs to the process: one test at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    struct World {
        signals: &'static Signals,
        send: UnboundedSender<u8>,
        ended: Arc<Mutex<Vec<u8>>>,
        _alone: MutexGuard<'static, ()>,
    }

    impl Source for UnboundedReceiver<u8> {
        async fn next(&mut self) -> Option<u8> {
            self.recv().await
        }
    }

    impl World {
        /// Must be called on a runtime, which then obeys the signals.
        fn new() -> Self {
            let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            let signals: &'static Signals = Box::leak(Box::new(Signals::new()));
            let (send, source) = mpsc::unbounded_channel();
            let ended = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&ended);
            tokio::spawn(obey(source, signals, move |signal| {
                log.lock().expect("no panic").push(signal);
            }));
            Self {
                signals,
                send,
                ended,
                _alone: alone,
            }
        }

        fn signal(&self, signal: u8) {
            self.send.send(signal).expect("it is obeyed");
        }

        async fn run<F: Future>(&self, app: F) -> Ended<F::Output> {
            let times = Times::new().grace(5 * SECOND).drain(3 * SECOND);
            times.run_with(app, self.signals).await
        }
    }

    fn slow_to_exit(
        time: Duration,
    ) -> impl crate::AsyncContext<Value = (), Error = io::Error, Verdict = ()> {
        defer(async move |_: &Outcome| {
            sleep(time).await;
            Ok(())
        })
    }

    fn code<T: Termination>(ended: Ended<T>) -> String {
        format!("{:?}", ended.report())
    }

    fn is(code: u8) -> String {
        format!("{:?}", ExitCode::from(code))
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_ends_by_itself_is_drained() {
        let world = World::new();
        let begun = Instant::now();
        let ended = world.run(async {
            drop(slow_to_exit(2 * SECOND).guard().await);
            Ok::<_, String>(())
        });
        let ended = ended.await;
        assert_eq!(begun.elapsed(), 2 * SECOND);
        assert_eq!((ended.how(), ended.left()), (How::ByItself, 0));
        assert_eq!(code(ended), is(0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_the_app_is_its_exit_code() {
        let world = World::new();
        let ended = world.run(async { Err::<(), _>("no database") }).await;
        assert_eq!(code(ended), is(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_is_told_and_obeys_ends_with_its_own_code() {
        let world = World::new();
        let told = world.signals.told();
        let clone = told.clone();
        world.signal(15);
        let ended = world.run(async {
            told.await;
            sleep(4 * SECOND).await;
            clone.await;
        });
        let ended = ended.await;
        assert_eq!(ended.how(), How::Told);
        assert_eq!(code(ended), is(0));
        assert_eq!(*world.ended.lock().expect("no panic"), []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_is_told_and_does_not_obey_is_dropped_after_the_grace_and_drained() {
        let world = World::new();
        let begun = Instant::now();
        world.signal(2);
        let ended = world.run(async {
            let used = slow_to_exit(2 * SECOND).with(async |()| pending::<io::Result<()>>().await);
            used.await
        });
        let ended = ended.await;
        assert_eq!(begun.elapsed(), 7 * SECOND);
        assert_eq!((ended.how(), ended.left()), (How::Dropped, 0));
        assert_eq!(code(ended), is(DROPPED));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_drain_within_the_limit_is_left() {
        let world = World::new();
        let begun = Instant::now();
        let ended = world.run(async {
            drop(slow_to_exit(9 * SECOND).guard().await);
        });
        let ended = ended.await;
        assert_eq!(begun.elapsed(), 3 * SECOND);
        assert_eq!((ended.how(), ended.left()), (How::ByItself, 1));
        assert_eq!(code(ended), is(UNDRAINED));
        detached::drain().await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_grace_an_app_is_not_polled_again_once_it_is_told() {
        let world = World::new();
        let times = Times::new().grace(Duration::ZERO);
        let app = async {
            let guard = slow_to_exit(SECOND).guard().await;
            world.signals.tell();
            yield_now().await;
            drop(guard);
        };
        let ended = times.run_with(app, world.signals).await;
        assert_eq!((ended.how(), ended.left()), (How::Dropped, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_signal_ends_it_at_once() {
        let world = World::new();
        world.signal(15);
        let app = async {
            sleep(SECOND).await;
            world.signal(2);
            yield_now().await;
            yield_now().await;
            assert_eq!(*world.ended.lock().expect("no panic"), [2]);
        };
        let ended = world.run(app).await;
        assert_eq!(ended.how(), How::Told);
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_after_the_end_ends_the_process_at_once() {
        let world = World::new();
        let _ = world.run(async {}).await;
        world.signal(15);
        sleep(SECOND).await;
        assert_eq!(*world.ended.lock().expect("no panic"), [15]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_was_told_by_the_program_is_not_ended_at_once_by_the_first_signal() {
        let world = World::new();
        world.signals.tell();
        let app = async {
            world.signal(15);
            sleep(SECOND).await;
        };
        let ended = world.run(app).await;
        assert_eq!(ended.how(), How::Told);
        assert_eq!(*world.ended.lock().expect("no panic"), []);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "no good")]
    async fn a_panic_of_the_app_goes_on_when_all_is_drained() {
        struct Check(Instant);

        impl Drop for Check {
            fn drop(&mut self) {
                assert_eq!(self.0.elapsed(), 2 * SECOND);
            }
        }

        let world = World::new();
        let _check = Check(Instant::now());
        let _ = world
            .run(async {
                let _guard = slow_to_exit(2 * SECOND).guard().await;
                panic!("no good");
            })
            .await;
    }
}
