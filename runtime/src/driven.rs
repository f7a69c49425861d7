//! The future beside a body, if the crate does not poll that body itself. For instance, the body of
//! a guard is the caller's own code.
//!
//! A [`Driver`] polls that future. The driver is a task of the runtime, or is polled by the code of
//! a stack or a `join` that holds many such contexts. The context's coroutine passes between the
//! driver, which polls the coroutine, and the holder, which needs the coroutine for exit:
//!
//! | from | to | by |
//! | --- | --- | --- |
//! | `Here` | `Polled` | the driver, which begins a poll |
//! | `Polled` | `Here` | the driver, after the poll |
//! | `Here` | `Gone` | the holder, for exit or as it drops |
//! | `Polled` | `Unwanted` | the holder, which drops during the poll |
//! | `Unwanted` | `Gone` | the driver, which drops the coroutine after the poll |
//!
//! Driver and holder hold no lock while the driver polls. The poll runs code of the user, and this
//! code may drop the holder or begin its exit. With a lock, the thread would then wait for itself.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::code::Lending;
use crate::context::Verdict;
use crate::coroutine::{Code, Coroutine, report_late};
use crate::exchange::End;
use crate::fairness::Fairness;
use crate::fallback;
use crate::lender::{Lender, OFFERED};
use crate::lock::lock;
use crate::observe::Watch;
use crate::order::Kind as Hold;
use crate::outcome::BodyError;
use crate::report::{self, Kind, drop_quietly};
use crate::scope::Live;

/// Drives the future beside one body, until that future has ended, or exit begins.
pub(crate) struct Driver(Box<dyn Drive>);

/// A driver without the types of its context.
trait Drive: Send {
    fn name(&self) -> &'static str;

    /// Returns the signal that the body has ended.
    fn ended(&self) -> &Arc<Ended>;

    /// Returns `true` if nothing is left to drive, or if the holder took or gave up the coroutine.
    fn is_over(&self) -> bool;

    fn drive(&mut self, cx: &mut Context<'_>) -> Driven;
}

#[derive(Debug, Clone, Copy)]
struct Driven {
    has_ended: bool,
    /// `true` if nothing is left to drive.
    is_done: bool,
}

impl Driver {
    /// Spawns the driver as a task of the current runtime, or of this crate's thread if there is
    /// none.
    pub(crate) fn spawn(self) {
        Task(Some(self)).spawn(Handle::try_current().ok());
    }
}

/// A driver as a task. If its runtime shuts down, it moves to the thread of this crate.
struct Task(Option<Driver>);

impl Task {
    fn spawn(mut self, runtime: Option<Handle>) {
        match (runtime.or_else(fallback::runtime), &self.0) {
            (Some(runtime), _) => drop(runtime.spawn(self)),
            (None, Some(driver)) => {
                report::plain(driver.0.name(), Kind::Lost);
                self.0 = None;
            }
            (None, None) => {}
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(driver) = &mut self.0 else {
            return Poll::Ready(());
        };
        if driver.0.drive(cx).is_done {
            self.0 = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(driver) = self.0.take_if(|driver| !driver.0.is_over()) {
            Self(Some(driver)).spawn(fallback::runtime());
        }
    }
}

/// The drivers of several contexts. Either the code that holds the contexts polls the drivers, or
/// tasks do.
pub(crate) struct Drivers {
    list: Mutex<List>,
    /// `true` once there is something to look after. Read at each poll of the code that holds the
    /// drivers.
    is_used: AtomicBool,
}

struct List {
    /// `true` if the code that holds the contexts polls the drivers.
    is_polled: bool,
    drivers: Vec<Driver>,
    /// The contexts whose drivers are tasks.
    spawned: Vec<Spawned>,
    /// Wakes the code that polls the drivers, if another task may add drivers.
    poller: Option<Waker>,
}

/// A context whose driver is a task.
struct Spawned {
    ended: Arc<Ended>,
    /// The wait for the end of the body, while some code polls the drivers.
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Drivers {
    /// For code that polls the drivers.
    pub(crate) fn polled() -> Self {
        Self::new(true)
    }

    /// For code that does not poll them. Each driver becomes a task.
    pub(crate) fn spawned() -> Self {
        Self::new(false)
    }

    fn new(is_polled: bool) -> Self {
        Self {
            list: Mutex::new(List {
                is_polled,
                drivers: Vec::new(),
                spawned: Vec::new(),
                poller: None,
            }),
            is_used: AtomicBool::new(false),
        }
    }

    pub(crate) fn add(&self, driver: Driver) {
        self.add_all(vec![driver]);
    }

    /// Adds the drivers. If tasks poll the drivers, these drivers become tasks.
    fn add_all(&self, drivers: Vec<Driver>) {
        self.wants_a_look();
        let mut list = lock(&self.list);
        if list.is_polled {
            list.drivers.extend(drivers);
            drop(list);
            return self.wake_poller();
        }
        for driver in &drivers {
            list.keep(Arc::clone(driver.0.ended()));
        }
        drop(list);
        for driver in drivers {
            driver.spawn();
        }
    }

    /// Records that there is something to look after from now on.
    pub(crate) fn wants_a_look(&self) {
        self.is_used.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Acquire)
    }

    pub(crate) fn is_polled(&self) -> bool {
        lock(&self.list).is_polled
    }

    /// Records that the code that holds the contexts polls the drivers from now on.
    pub(crate) fn begin_polling(&self) {
        lock(&self.list).is_polled = true;
    }

    /// Keeps the waker of the code that polls the drivers. It is woken when another task adds a
    /// driver.
    pub(crate) fn note_poller(&self, cx: &Context<'_>) {
        let is_known = |poller: &Waker| poller.will_wake(cx.waker());
        if lock(&self.list).poller.as_ref().is_some_and(is_known) {
            return;
        }
        // Cloned and dropped without the lock, because a waker may run code of the user.
        let waker = cx.waker().clone();
        let before = lock(&self.list).poller.replace(waker);
        drop(before);
    }

    pub(crate) fn wake_poller(&self) {
        let poller = lock(&self.list).poller.take();
        wake(poller);
    }

    /// Turns the drivers into tasks, with all drivers that are added later.
    pub(crate) fn spawn(&self) {
        let (drivers, poller) = {
            let mut list = lock(&self.list);
            list.is_polled = false;
            (mem::take(&mut list.drivers), list.poller.take())
        };
        drop(poller);
        if !drivers.is_empty() {
            self.add_all(drivers);
        }
    }

    /// Takes over all drivers of the others.
    pub(crate) fn append(&self, others: &Self) {
        if !others.is_used() {
            return;
        }
        let (drivers, spawned) = {
            let mut others = lock(&others.list);
            (
                mem::take(&mut others.drivers),
                mem::take(&mut others.spawned),
            )
        };
        lock(&self.list).spawned.extend(spawned);
        self.add_all(drivers);
    }

    /// Returns `true` if no driver is left that the code must poll.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_used() || lock(&self.list).drivers.is_empty()
    }

    /// Polls the drivers that are not tasks. Returns `true` if a driver has ended a body. While
    /// `is_polled` is `true`, the drivers that are tasks count as well.
    #[inline]
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> bool {
        self.is_used() && self.poll_all(cx)
    }

    #[cold]
    fn poll_all(&self, cx: &mut Context<'_>) -> bool {
        // Without the lock, because the drivers poll code of the user.
        let mut taken = self.take();
        let mut has_ended = false;
        taken.spawned.retain_mut(|spawned| {
            let is_open = spawned.poll(cx).is_pending();
            has_ended |= !is_open;
            is_open
        });
        taken.drivers.retain_mut(|driver| {
            let driven = driver.0.drive(cx);
            has_ended |= driven.has_ended;
            !driven.is_done
        });
        has_ended
    }

    /// Takes the drivers out, for one poll of each.
    fn take(&self) -> Taken<'_> {
        let mut list = lock(&self.list);
        let spawned = list.is_polled.then(|| mem::take(&mut list.spawned));
        Taken {
            from: self,
            drivers: mem::take(&mut list.drivers),
            spawned: spawned.unwrap_or_default(),
        }
    }

    /// Runs the future, and polls the drivers meanwhile. Returns `None` if a driver ends its body
    /// first.
    pub(crate) async fn race<F: Future + Unpin>(&self, mut future: F) -> Option<F::Output> {
        let mut fairness = Fairness::default();
        poll_fn(|cx| {
            if fairness.is_second_first() && self.poll(cx) {
                return Poll::Ready(None);
            }
            if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
                return Poll::Ready(Some(output));
            }
            fairness.first_was_polled();
            if self.poll(cx) {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    pub(crate) async fn drive_while<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        let mut fairness = Fairness::default();
        poll_fn(|cx| {
            if fairness.is_second_first() {
                self.poll(cx);
            }
            let polled = Pin::new(&mut future).poll(cx);
            if polled.is_pending() {
                fairness.first_was_polled();
                self.poll(cx);
            }
            polled
        })
        .await
    }
}

/// Drivers that are being polled. When this drops, the drivers that are left go back, even if a
/// waker of the user has panicked.
struct Taken<'a> {
    from: &'a Drivers,
    drivers: Vec<Driver>,
    spawned: Vec<Spawned>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let (mut drivers, spawned) = (mem::take(&mut self.drivers), mem::take(&mut self.spawned));
        let is_polled = {
            let mut list = lock(&self.from.list);
            list.spawned.extend(spawned);
            if list.is_polled {
                // Nobody is woken, because the code that polls the drivers is here.
                list.drivers.append(&mut drivers);
            }
            list.is_polled
        };
        if !is_polled && !drivers.is_empty() {
            self.from.add_all(drivers);
        }
    }
}

impl Drop for Drivers {
    /// Turns the drivers into tasks whose contexts are still open: the code that holds the contexts
    /// was given up, and their exits run in the background.
    #[inline]
    fn drop(&mut self) {
        if !*self.is_used.get_mut() {
            return;
        }
        let list = self.list.get_mut().unwrap_or_else(PoisonError::into_inner);
        for driver in mem::take(&mut list.drivers) {
            if !driver.0.is_over() {
                driver.spawn();
            }
        }
    }
}

impl List {
    /// Keeps the signal of a driver that is a task.
    fn keep(&mut self, ended: Arc<Ended>) {
        if self.spawned.len() == self.spawned.capacity() {
            // A signal that nobody else owns has neither a holder nor a driver any more.
            let is_held = |spawned: &mut Spawned| {
                let own = 1 + usize::from(spawned.wait.is_some());
                Arc::strong_count(&spawned.ended) > own
            };
            self.spawned.retain_mut(is_held);
        }
        self.spawned.push(Spawned { ended, wait: None });
    }
}

impl Spawned {
    /// Returns `Ready` once the driver has ended the body.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.wait.get_or_insert_with(|| {
            let ended = Arc::clone(&self.ended);
            Box::pin(async move { ended.wait().await })
        });
        wait.as_mut().poll(cx)
    }
}

/// The holder's access to a context that is driven.
struct Holder<V, D, E>(Arc<Shared<V, D, E>>);

struct Shared<V, D, E> {
    name: &'static str,
    state: Mutex<State<V, D, E>>,
    ended: Arc<Ended>,
}

struct State<V, D, E> {
    coroutine: Where<V, D, E>,
    end: Option<End<BodyError>>,
    /// `true` if the future ended the body in the poll that yielded, and `drive` has not returned
    /// this yet.
    has_ended_early: bool,
    /// `true` if nothing is left to drive.
    is_done: bool,
    driver: Option<Waker>,
    holder: Option<Waker>,
    /// `true` if the holder waits until the coroutine is `Here`.
    is_wanted: bool,
}

/// The table is at the top of this file.
enum Where<V, D, E> {
    Here(Coroutine<Code<V, D, E>>),
    Polled,
    Unwanted,
    Gone,
}

/// The signal that the future beside a body has ended the body, and the holder's signal that the
/// body has ended in another way.
#[derive(Debug)]
pub(crate) struct Ended {
    is_over: AtomicBool,
    /// `true` once the holder knows that the body has ended.
    is_body_over: AtomicBool,
    /// `true` once the user has received the error.
    is_given: AtomicBool,
    told: Notify,
}

impl Ended {
    fn new() -> Self {
        Self {
            is_over: AtomicBool::new(false),
            is_body_over: AtomicBool::new(false),
            is_given: AtomicBool::new(false),
            told: Notify::new(),
        }
    }

    pub(crate) async fn wait(&self) {
        // Created before the check of `is_over`: otherwise a call of `tell` between the check and
        // the wait would be missed.
        let told = self.told.notified();
        if !self.is_over.load(Ordering::Acquire) {
            told.await;
        }
    }

    /// Records that the user has received the error that ended the body.
    pub(crate) fn give(&self) {
        self.is_given.store(true, Ordering::Release);
    }

    pub(crate) fn is_given(&self) -> bool {
        self.is_given.load(Ordering::Acquire)
    }

    /// Records that the holder has ended the body. Its exit may still wait for its turn.
    pub(crate) fn end_body(&self) {
        self.is_body_over.store(true, Ordering::Release);
    }

    fn is_body_over(&self) -> bool {
        self.is_body_over.load(Ordering::Acquire)
    }

    fn tell(&self) {
        self.is_over.store(true, Ordering::Release);
        self.told.notify_waiters();
    }
}

impl<V, D, E> Live<Code<V, D, E>>
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Returns a driver for the future beside the body, for a holder that does not poll the body.
    /// Returns `None` if there is no such future. The context must have been entered.
    #[inline]
    pub(crate) fn drive(&mut self) -> Option<(Driver, Arc<Ended>)> {
        self.is_accompanied().then(|| self.part_from_driver())
    }

    /// Replaces the coroutine by a new one, which keeps the place of the context in the order. When
    /// the new coroutine exits, it takes the original one from the driver, and runs its exit.
    #[cold]
    fn part_from_driver(&mut self) -> (Driver, Arc<Ended>) {
        let mut driver = None;
        self.replace(|mut coroutine| {
            let name = coroutine.name();
            let value = coroutine.slot().take().expect(OFFERED);
            let stand_in = coroutine.place().stand_in();
            let place = mem::replace(coroutine.place(), stand_in);
            let is_limited = coroutine.life().is_limited();
            let holder = Holder::new(name, coroutine);
            driver = Some(holder.driver());
            let code = move |lender: Lender<V, E>| async move {
                if is_limited {
                    lender.exchange().limit();
                }
                let beside = |cx: &mut Context<'_>| {
                    if !lender.exchange().has_a_body() {
                        holder.0.ended.end_body();
                    }
                    holder.poll_end(cx)
                };
                let (value, outcome) = lender.yield_beside_all(value, beside).await;
                let mut coroutine = holder.take().await;
                coroutine.slot().put(value);
                if !coroutine.slot().has_value() {
                    // A lease of the value never came back.
                    report::plain(name, Kind::NotRun);
                    drop_quietly(name, coroutine);
                    return Ok(D::PROPAGATE);
                }
                coroutine.end_body(outcome.share());
                let exit = poll_fn(|cx| coroutine.poll_exit(cx)).await;
                lender.fail_as(coroutine.failed_as());
                exit
            };
            let watch = Watch::default();
            let code = Lending::new(watch.part(), code);
            let mut outer = Coroutine::erased(name, watch, Hold::Guard, code);
            let mut cx = Context::from_waker(Waker::noop());
            let entered = outer.poll_enter(&mut cx);
            debug_assert!(entered.is_ready(), "it awaits nothing");
            *outer.place() = place;
            outer
        });
        driver.expect("there is a coroutine to drive until exit has ended")
    }
}

impl<V, D, E> Holder<V, D, E>
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn new(name: &'static str, coroutine: Coroutine<Code<V, D, E>>) -> Self {
        let end = coroutine.life().take_end();
        let has_ended_early = end.is_some();
        let ended = Arc::new(Ended::new());
        if has_ended_early {
            ended.tell();
        }
        Self(Arc::new(Shared {
            name,
            state: Mutex::new(State {
                coroutine: Where::Here(coroutine),
                end,
                has_ended_early,
                is_done: false,
                driver: None,
                holder: None,
                is_wanted: false,
            }),
            ended,
        }))
    }

    fn driver(&self) -> (Driver, Arc<Ended>) {
        let driver = Driver(Box::new(Arc::clone(&self.0)));
        (driver, Arc::clone(&self.0.ended))
    }

    /// Returns the error that ends the body once there is one, or `Ok` once nothing is left to
    /// drive.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        // Cloned and dropped without the lock, because a waker may run code of the user.
        let holder = cx.waker().clone();
        let mut state = self.0.state();
        if let Some(end) = state.end.take() {
            drop(state);
            return Poll::Ready(end.into_result());
        }
        if state.is_done {
            return Poll::Ready(Ok(()));
        }
        let before = state.holder.replace(holder);
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// Takes the coroutine, for its exit. The driver then ends.
    async fn take(self) -> Coroutine<Code<V, D, E>> {
        poll_fn(|cx| {
            let holder = cx.waker().clone();
            let mut state = self.0.state();
            match mem::replace(&mut state.coroutine, Where::Gone) {
                Where::Here(coroutine) => {
                    let (end, driver) = (state.end.take(), state.driver.take());
                    drop(state);
                    wake(driver);
                    if let Some(end) = end {
                        report_late(self.0.name, end);
                    }
                    Poll::Ready(coroutine)
                }
                other @ (Where::Polled | Where::Unwanted | Where::Gone) => {
                    state.coroutine = other;
                    state.is_wanted = true;
                    let before = state.holder.replace(holder);
                    drop(state);
                    drop(before);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<V, D, E> Drop for Holder<V, D, E> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let coroutine = match mem::replace(&mut state.coroutine, Where::Gone) {
            Where::Here(coroutine) => Some(coroutine),
            Where::Polled => {
                state.coroutine = Where::Unwanted;
                None
            }
            Where::Unwanted | Where::Gone => None,
        };
        let (end, driver) = (state.end.take(), state.driver.take());
        drop(state);
        wake(driver);
        if let Some(end) = end {
            report_late(self.0.name, end);
        }
        drop_quietly(self.0.name, coroutine);
    }
}

impl<V, D, E> Shared<V, D, E> {
    fn state(&self) -> MutexGuard<'_, State<V, D, E>> {
        lock(&self.state)
    }
}

/// Wakes the waker. The caller must hold no lock, because the waker may run code of the user.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<V, D, E> Drive for Arc<Shared<V, D, E>>
where
    V: Send + 'static,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn ended(&self) -> &Arc<Ended> {
        &self.ended
    }

    fn is_over(&self) -> bool {
        let state = self.state();
        match state.coroutine {
            Where::Here(_) => state.is_done,
            Where::Polled => false,
            Where::Unwanted | Where::Gone => true,
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Driven {
        const DONE: Driven = Driven {
            has_ended: false,
            is_done: true,
        };
        // Cloned and dropped without the lock, because a waker may run code of the user.
        let waker = cx.waker().clone();
        let mut state = self.state();
        let mut coroutine = match mem::replace(&mut state.coroutine, Where::Polled) {
            Where::Here(coroutine) => coroutine,
            other @ (Where::Polled | Where::Unwanted | Where::Gone) => {
                state.coroutine = other;
                drop(state);
                return DONE;
            }
        };
        let before = state.driver.replace(waker);
        drop(state);
        drop_quietly(self.name, before);

        if self.ended.is_body_over() {
            coroutine.life().end_around();
        }
        let drive = || coroutine.drive_beside(cx);
        let (end, is_done) = match catch_unwind(AssertUnwindSafe(drive)) {
            Ok(driven) => driven,
            Err(payload) => (Some(End::Panicked(payload)), true),
        };

        let mut state = self.state();
        if let Where::Unwanted = state.coroutine {
            state.coroutine = Where::Gone;
            drop(state);
            if let Some(end) = end {
                report_late(self.name, end);
            }
            drop_quietly(self.name, coroutine);
            return DONE;
        }
        state.coroutine = Where::Here(coroutine);
        state.is_done = is_done;
        let has_ended = end.is_some() || mem::take(&mut state.has_ended_early);
        let late = if state.end.is_some() {
            end
        } else {
            state.end = end;
            None
        };
        // Only with news: the holder's code may poll the driver itself, and would wake itself in
        // each poll.
        let has_news = has_ended || is_done || state.is_wanted;
        let holder = has_news.then(|| state.holder.take()).flatten();
        drop(state);
        if let Some(late) = late {
            report_late(self.name, late);
        }
        if has_ended {
            self.ended.tell();
        }
        wake(holder);
        Driven { has_ended, is_done }
    }
}
