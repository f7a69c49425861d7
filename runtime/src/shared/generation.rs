//! One life of a shared context: its first user opens it, and its last user exits it.
//!
//! | from | to | by | when |
//! | --- | --- | --- | --- |
//! | `New` | `Opening` | a user | the first one comes |
//! | `Opening` | `Open`, `Failed` | the user that opens it | enter has ended |
//! | `Opening` | `Left` | the user that opens it | gives up, and other users wait: one of these goes on with the enter |
//! | `Left` | `Opening` | a user | goes on with the enter |
//! | `Opening`, `Left` | `Ending` | a user | gives up, and nobody waits: the context ends in the background |
//! | `Open` | `Ending` | the last user, the timer, a drain or a `replace` | nobody uses the context, and it does not linger any longer |
//! | `Ending` | `Over` | whoever drives the code | the code has ended |
//! | `Opening` | `Over` | the user that opens it | enter panics |
//!
//! 1. Code that takes the context out of the phase must drive or drop the context. It must not do
//!    so under the lock, because the context's code may call into this module.
//! 2. Every change wakes the users that wait. So every user can go on without the help of another
//!    task.
//! 3. All shares in the value drop before their user is subtracted from the count. So the value can
//!    be taken back when the count is 0.

use std::fmt;
use std::mem;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::Inner;
use super::share::{Share, Shareable};
use crate::coroutine::Code;
use crate::detached::{self, Lingering};
use crate::outcome::Outcome;
use crate::panic::{Payload, resume};
use crate::scope::Live;

/// A context in use, without its type.
pub(super) type Context<V, E> = Live<Code<V, (), E>>;

pub(super) type Make<V, E> = dyn FnOnce(Signal<V, E>) -> Context<V, E> + Send;

pub(super) struct Generation<V, E> {
    state: Mutex<State<V, E>>,
    change: Notify,
    /// How long the context stays open without users.
    linger: Duration,
}

struct State<V, E> {
    phase: Phase<V, E>,
    /// The number of users that have no share yet, including the user that opens.
    waiting: usize,
    /// `true` once nothing of the context's code is left.
    has_ended: bool,
    /// `true` once another generation has replaced this one. A generation that was replaced does
    /// not linger.
    is_retired: bool,
    /// `true` while a timer runs, or is about to run.
    has_timer: bool,
}

enum Phase<V, E> {
    New(Box<Make<V, E>>),
    Opening,
    Left(Context<V, E>),
    Failed(Arc<E>),
    Open(Open<V, E>),
    Ending,
    Over,
}

struct Open<V, E> {
    context: Context<V, E>,
    value: Arc<V>,
    users: usize,
    idle_since: Option<Instant>,
}

pub(super) enum Joined<V, E> {
    Share(Share<V, E>),
    Failed(Arc<E>),
    /// This generation has ended, and another one must take its place.
    Over,
}

impl<V, E> Generation<V, E> {
    pub(super) fn new(make: Box<Make<V, E>>, linger: Duration) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                phase: Phase::New(make),
                waiting: 0,
                has_ended: false,
                is_retired: false,
                has_timer: false,
            }),
            change: Notify::new(),
            linger,
        })
    }

    pub(super) fn is_over(&self) -> bool {
        match self.state().phase {
            Phase::Failed(_) | Phase::Over => true,
            Phase::New(_) | Phase::Opening | Phase::Left(_) | Phase::Open(_) | Phase::Ending => {
                false
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<V, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V, E> Generation<V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Waits for a share in the value. Opens the context if no other user does.
    pub(super) async fn join(self: &Arc<Self>, owner: &Arc<Inner<V, E>>) -> Joined<V, E> {
        let _waiting = Waiting::begin(self);
        loop {
            // Created before the check of the phase: otherwise a change between the two would be
            // missed.
            let change = self.change.notified();
            let begun = {
                let mut state = self.state();
                match &mut state.phase {
                    Phase::Open(open) => {
                        open.users += 1;
                        open.idle_since = None;
                        let value = Arc::clone(&open.value);
                        return Joined::Share(Share::new(value, Arc::clone(self) as _));
                    }
                    Phase::Failed(error) => return Joined::Failed(Arc::clone(error)),
                    Phase::Over => return Joined::Over,
                    Phase::Opening | Phase::Ending => None,
                    phase @ (Phase::New(_) | Phase::Left(_)) => {
                        Some(mem::replace(phase, Phase::Opening))
                    }
                }
            };
            let Some(begun) = begun else {
                change.await;
                continue;
            };
            let mut opening = Opening {
                generation: self,
                context: None,
                is_over: false,
            };
            let context = match begun {
                Phase::New(make) => make(Signal {
                    generation: Arc::clone(self),
                    _owner: Arc::clone(owner),
                }),
                Phase::Left(context) => context,
                Phase::Opening
                | Phase::Failed(_)
                | Phase::Open(_)
                | Phase::Ending
                | Phase::Over => continue,
            };
            let entered = opening.context.insert(context).enter().await;
            return opening.end(entered);
        }
    }

    /// Records that another generation has taken the place of this one. Returns the context if it
    /// is unused: the caller must exit it.
    #[must_use]
    pub(super) fn retire(&self) -> Option<Ending<V, E>> {
        let mut state = self.state();
        state.is_retired = true;
        self.take_idle(state)
    }

    /// Takes the context, if it is open and unused.
    fn take_idle(&self, mut state: MutexGuard<'_, State<V, E>>) -> Option<Ending<V, E>> {
        match &state.phase {
            Phase::Open(open) if open.users == 0 => {}
            Phase::New(_)
            | Phase::Opening
            | Phase::Left(_)
            | Phase::Failed(_)
            | Phase::Open(_)
            | Phase::Ending
            | Phase::Over => return None,
        }
        detached::remove_lingering(self.key());
        let Phase::Open(open) = mem::replace(&mut state.phase, Phase::Ending) else {
            return None;
        };
        drop(state);
        // A timer that still waits has nothing more to do, and ends.
        self.change.notify_waiters();
        Some(Ending::new(open))
    }

    /// Returns how long the context still lingers, or `None` if a timer has nothing to wait for.
    pub(super) fn lingers_for(&self) -> Option<Duration> {
        let mut state = self.state();
        let idle_since = match &state.phase {
            Phase::Open(open) => open.idle_since,
            Phase::New(_)
            | Phase::Opening
            | Phase::Left(_)
            | Phase::Failed(_)
            | Phase::Ending
            | Phase::Over => None,
        };
        if let Some(since) = idle_since {
            return Some(self.linger.saturating_sub(since.elapsed()));
        }
        state.has_timer = false;
        None
    }

    /// Called when the runtime of a timer drops the timer too early.
    pub(super) fn lose_timer(&self) {
        self.state().has_timer = false;
        self.close();
    }

    pub(super) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.change.notified()
    }

    /// The address of this generation. It is unique while the generation is listed.
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<V, E> Shareable<V, E> for Generation<V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn leave(self: Arc<Self>, value: Arc<V>) -> Option<Ending<V, E>> {
        let mut state = self.state();
        drop(value);
        if let Phase::Open(open) = &mut state.phase {
            open.users -= 1;
            if open.users > 0 {
                return None;
            }
            open.idle_since = Some(Instant::now());
        }
        if self.linger.is_zero() || state.is_retired {
            return self.take_idle(state);
        }
        detached::add_lingering(self.key(), || Arc::clone(&self) as _);
        let needs_timer = !mem::replace(&mut state.has_timer, true);
        drop(state);
        if needs_timer {
            super::linger::start(&self);
        }
        None
    }
}

impl<V, E> Lingering for Generation<V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn close(&self) {
        let ending = self.take_idle(self.state());
        // The exit goes on in the background.
        drop(ending);
    }
}

/// A user that waits for a share, or opens the context.
struct Waiting<'g, V, E>(&'g Generation<V, E>);

impl<'g, V, E> Waiting<'g, V, E> {
    fn begin(generation: &'g Generation<V, E>) -> Self {
        generation.state().waiting += 1;
        Self(generation)
    }
}

impl<V, E> Drop for Waiting<'_, V, E> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        if state.waiting == 0 && matches!(state.phase, Phase::Left(_)) {
            let left = mem::replace(&mut state.phase, Phase::Ending);
            drop(state);
            drop(left);
        }
    }
}

struct Opening<'g, V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    generation: &'g Arc<Generation<V, E>>,
    context: Option<Context<V, E>>,
    /// `true` once the enter has ended in any way.
    is_over: bool,
}

impl<V, E> Opening<'_, V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn end(mut self, entered: Result<Result<(), E>, Payload>) -> Joined<V, E> {
        let generation = self.generation;
        let (phase, joined) = match (entered, self.context.take()) {
            (Ok(Ok(())), Some(mut context)) => {
                // The body of the context is not the body of any user, so a task must drive the
                // future beside it.
                if let Some((driver, _)) = context.drive() {
                    driver.spawn();
                }
                let value = Arc::new(context.take());
                let share = Share::new(Arc::clone(&value), Arc::clone(generation) as _);
                let open = Open {
                    context,
                    value,
                    users: 1,
                    idle_since: None,
                };
                (Phase::Open(open), Joined::Share(share))
            }
            (Ok(Err(error)), context) => {
                drop(context);
                let error = Arc::new(error);
                (Phase::Failed(Arc::clone(&error)), Joined::Failed(error))
            }
            (Ok(Ok(())), None) => (Phase::Over, Joined::Over),
            // The drop of `self` sets the phase.
            (Err(payload), context) => {
                drop(context);
                resume_unwind(payload)
            }
        };
        self.is_over = true;
        generation.state().phase = phase;
        generation.change.notify_waiters();
        joined
    }
}

impl<V, E> Drop for Opening<'_, V, E>
where
    V: Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let generation = self.generation;
        let mut state = generation.state();
        let mut context = self.context.take();
        state.phase = match context.take_if(|_| !state.has_ended && state.waiting > 1) {
            Some(context) => Phase::Left(context),
            None if context.is_none() || state.has_ended => Phase::Over,
            None => Phase::Ending,
        };
        drop(state);
        // The context goes on in the background, unless it was left to another user.
        drop(context);
        generation.change.notify_waiters();
    }
}

/// A context whose last user has gone. If it is dropped, its exit goes on in the background.
pub(super) struct Ending<V, E>(Context<V, E>);

impl<V, E> Ending<V, E>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    fn new(open: Open<V, E>) -> Self {
        let Open {
            mut context, value, ..
        } = open;
        let value = Arc::into_inner(value).expect("the shares of all users have dropped");
        context.put(value);
        context.end_body(Outcome::Completed);
        Self(context)
    }

    pub(super) async fn exit(mut self) -> Result<(), E> {
        let exit = self.0.exit().await;
        resume(exit)
    }

    /// Exits the context, and reports an error of exit, which no caller gets.
    pub(super) async fn exit_reporting(mut self) {
        match self.0.exit().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.0.failing().report(Arc::new(error)),
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// A part of a generation's code. It drops when nothing is left of the code.
pub(super) struct Signal<V, E> {
    generation: Arc<Generation<V, E>>,
    /// As long as the code exists, new users must find this generation.
    _owner: Arc<Inner<V, E>>,
}

impl<V, E> Drop for Signal<V, E> {
    fn drop(&mut self) {
        let generation = &self.generation;
        let mut state = generation.state();
        state.has_ended = true;
        if let Phase::Ending = state.phase {
            state.phase = Phase::Over;
        }
        drop(state);
        generation.change.notify_waiters();
    }
}
