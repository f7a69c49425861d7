//! Several contexts that enter and exit as one: one after the other, or at the same time.
//!
//! Each member is driven on its own. If the caller goes away during enter, each member goes on as
//! it would alone. A member that is entering goes on in the background and exits, a member that has
//! been entered exits, and a member whose enter has not begun drops. Once a member has failed, and
//! during the exits, the members stay together: if the caller goes away then, the context that
//! contains all members goes on in the background as a whole.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::combine::together::Together;
use crate::combine::trouble::Trouble;
use crate::context::AsyncContext;
use crate::coroutine::{Code, report_late};
use crate::driven::Drivers;
use crate::exchange::{End, Mark};
use crate::order::Kind as Hold;
use crate::outcome::{BodyError, Outcome};
use crate::panic::Payload;
use crate::report::{Failing, Kind, drop_quietly};
use crate::scope::Live;

pub(crate) struct Member<C: AsyncContext + 'static> {
    hold: Hold,
    state: State<C>,
}

enum State<C: AsyncContext + 'static> {
    /// Its enter has not begun.
    Waiting(C),
    Live(Live<Code<C::Value, (), C::Error>>),
    /// Its enter has failed, or its exit has begun.
    Over,
}

/// The result of a member's enter or exit, and the kind of the report of its error.
pub(crate) type Ended<'a, E> =
    Pin<Box<dyn Future<Output = (Result<Result<(), E>, Payload>, Kind)> + Send + 'a>>;

/// A member that has been entered, without the types of its context and its value.
pub(crate) trait Entered<E>: Send {
    fn name(&self) -> &'static str;

    /// Returns how the future beside its body has ended the body, if it has.
    fn take_end(&mut self) -> Option<End<BodyError>>;

    /// Exits the member. Does nothing if the member has not been entered.
    fn exit(&mut self, outcome: Outcome) -> Ended<'_, E>;
}

/// A member, without the types of its context and its value.
pub(crate) trait AnyMember<E>: Entered<E> {
    /// Enters the member. If a future runs beside its body, adds the driver of that future to
    /// `drivers`.
    fn enter<'a>(&'a mut self, drivers: &'a Drivers) -> Ended<'a, E>;

    /// Records that the body has ended, though no exit has begun.
    fn end_around(&mut self, cx: &mut Context<'_>);

    fn give_up(&mut self);
}

pub(crate) trait Members: Send + 'static {
    type Value: Send;
    type Error: fmt::Debug + Send + Sync + 'static;

    fn each(&mut self) -> Vec<&mut dyn AnyMember<Self::Error>>;

    /// Takes the values. All members must have been entered.
    fn lend(&mut self) -> Self::Value;

    fn put_back(&mut self, values: Self::Value);
}

impl<C: AsyncContext<Verdict = ()> + 'static> Member<C> {
    /// For a member that is entered and exited together with the others.
    pub(crate) fn beside_others(context: C) -> Self {
        Self {
            hold: Hold::Part,
            state: State::Waiting(context),
        }
    }

    /// For a member that contains the members after it.
    pub(crate) fn around_others(context: C) -> Self {
        Self {
            hold: Hold::Guard,
            state: State::Waiting(context),
        }
    }

    /// Takes the value. The member must have been entered.
    pub(crate) fn lend(&mut self) -> C::Value {
        match &mut self.state {
            State::Live(live) => live.take(),
            State::Waiting(_) | State::Over => {
                unreachable!("the values are lent when all have been entered")
            }
        }
    }

    pub(crate) fn put_back(&mut self, value: C::Value) {
        if let State::Live(live) = &mut self.state {
            live.put(value);
        }
    }
}

impl<C: AsyncContext + 'static> Member<C> {
    fn context(&self) -> &'static str {
        match &self.state {
            State::Waiting(context) => context.__name(),
            State::Live(live) => live.name(),
            State::Over => std::any::type_name::<C>(),
        }
    }

    fn drop_state(&mut self) {
        let name = self.context();
        drop_quietly(name, mem::replace(&mut self.state, State::Over));
    }
}

impl<C: AsyncContext + 'static> Drop for Member<C> {
    /// A member whose `Drop` panics must not keep the others from being handed over.
    fn drop(&mut self) {
        self.drop_state();
    }
}

impl<C: AsyncContext<Verdict = ()> + 'static> Entered<C::Error> for Member<C> {
    fn name(&self) -> &'static str {
        self.context()
    }

    fn take_end(&mut self) -> Option<End<BodyError>> {
        match &mut self.state {
            State::Live(live) => live.take_end(),
            State::Waiting(_) | State::Over => None,
        }
    }

    fn exit(&mut self, outcome: Outcome) -> Ended<'_, C::Error> {
        Box::pin(async move {
            let name = self.context();
            let mut state = mem::replace(&mut self.state, State::Over);
            if let State::Live(live) = &mut state {
                if live.has_value() {
                    live.end_body(outcome);
                    live.become_part();
                    let ended = live.exit().await;
                    return (ended, live.failing().kind);
                }
            }
            // A member whose value did not come back reports that when it drops.
            drop_quietly(name, state);
            (Ok(Ok(())), Kind::ExitFailed)
        })
    }
}

impl<C: AsyncContext<Verdict = ()> + 'static> AnyMember<C::Error> for Member<C> {
    fn enter<'a>(&'a mut self, drivers: &'a Drivers) -> Ended<'a, C::Error> {
        Box::pin(async {
            let state = mem::replace(&mut self.state, State::Over);
            let State::Waiting(context) = state else {
                unreachable!("each is entered once");
            };
            let hold = self.hold;
            let ended = match catch_unwind(AssertUnwindSafe(|| Live::new(context, hold))) {
                Ok(live) => {
                    self.state = State::Live(live);
                    let State::Live(live) = &mut self.state else {
                        unreachable!("the state was set one line before");
                    };
                    live.enter().await
                }
                Err(payload) => Err(payload),
            };
            let state = mem::replace(&mut self.state, State::Over);
            if let (Ok(Ok(())), State::Live(mut live)) = (&ended, state) {
                if let Some((driver, _)) = live.drive() {
                    drivers.add(driver);
                }
                self.state = State::Live(live);
            }
            (ended, Kind::EnterFailed)
        })
    }

    fn end_around(&mut self, cx: &mut Context<'_>) {
        if let State::Live(live) = &mut self.state {
            live.end_around(cx);
        }
    }

    fn give_up(&mut self) {
        self.drop_state();
    }
}

/// Enters all members, one after the other. If one fails, the members before it exit, in reverse.
///
/// The future beside a member's body may end the enter, because all later members are entered in
/// the body of that member.
pub(crate) async fn enter_in_order<M: Members, V>(
    members: &mut M,
    drivers: &Drivers,
    mark: Mark<'_, V>,
) -> Result<(), M::Error> {
    let mut members = members.each();
    let mut trouble = Trouble::new();
    let mut entered = 0;
    while trouble.is_none() && entered < members.len() {
        let (before, rest) = members.split_at_mut(entered);
        let member = &mut rest[0];
        let name = member.name();
        let mut entering = member.enter(drivers);
        let ended = loop {
            match drivers.race(&mut entering).await {
                Some(ended) => break Ok(ended),
                None => {
                    if let Some(end) = first_end(before) {
                        break Err(end);
                    }
                }
            }
        };
        drop(entering);
        match ended {
            Ok((ended, kind)) => {
                trouble.add(Failing::new(name, kind), ended);
                entered += usize::from(trouble.is_none());
            }
            Err((by, end)) => {
                member.give_up();
                drop(mark);
                let name = before[by].name();
                trouble.add_end(Failing::new(name, Kind::BesideFailed), end);
                let seen = trouble.outcome().expect("it was added one line before");
                let exits = unwind(before, drivers, seen.marked_from_beside(), Some(by)).await;
                return trouble.settle_after(exits);
            }
        }
    }
    let Some(outcome) = trouble.outcome() else {
        return Ok(());
    };
    drop(mark);
    let exits = unwind(&mut members[..entered], drivers, outcome, None).await;
    trouble.settle_after(exits)
}

/// Exits all members, in reverse, as nested contexts do. If the future beside a member's body ended
/// the body, the members inside that member have been cancelled.
pub(crate) async fn exit_in_reverse<M: Members>(
    members: &mut M,
    drivers: &Drivers,
    outcome: Outcome,
    ended_by: Option<usize>,
) -> Trouble<M::Error> {
    unwind(&mut members.each(), drivers, outcome, ended_by).await
}

/// Exits all members, in reverse. `ended_by` is the number of the member whose future beside the
/// body ended the body.
pub(crate) async fn unwind<E, M>(
    members: &mut [&mut M],
    drivers: &Drivers,
    outcome: Outcome,
    ended_by: Option<usize>,
) -> Trouble<E>
where
    E: fmt::Debug + Send + Sync + 'static,
    M: Entered<E> + ?Sized,
{
    let mut trouble = Trouble::new();
    let mut outcome = outcome;
    for (number, member) in members.iter_mut().enumerate().rev() {
        let name = member.name();
        let is_inside = ended_by.is_some_and(|by| number > by);
        match (member.take_end(), &outcome) {
            (None, _) => {}
            (Some(end), Outcome::Completed) => {
                trouble.add_end(Failing::new(name, Kind::BesideFailed), end);
                outcome = seen_outside(outcome, &trouble).marked_from_beside();
            }
            (Some(end), Outcome::Failed(_) | Outcome::Panicked(_) | Outcome::Cancelled) => {
                report_late(name, end);
            }
        }
        let seen = if is_inside {
            Outcome::Cancelled
        } else {
            outcome.share()
        };
        let (ended, kind) = drivers.drive_while(member.exit(seen)).await;
        let failing = Failing::new(name, kind);
        if is_inside {
            // As with a nested context that was cancelled, the error is reported: the drop of this
            // `Trouble` does so.
            Trouble::new().add(failing, ended);
        } else {
            trouble.add(failing, ended);
            outcome = seen_outside(outcome, &trouble);
        }
    }
    trouble
}

fn first_end<E>(members: &mut [&mut dyn AnyMember<E>]) -> Option<(usize, End<BodyError>)> {
    let mut members = members.iter_mut().enumerate();
    members.find_map(|(number, member)| Some((number, member.take_end()?)))
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedBy {
    member: usize,
    by_a_panic: bool,
}

impl EndedBy {
    /// Returns the number of the member whose future ended the body. Returns `None` if the body had
    /// already ended in another way, as `outcome` tells.
    pub(crate) fn member_of(self, outcome: &Outcome) -> Option<usize> {
        let is_how = match outcome {
            Outcome::Failed(error) => error.is_from_beside(),
            Outcome::Panicked(_) => self.by_a_panic,
            Outcome::Completed | Outcome::Cancelled => false,
        };
        is_how.then_some(self.member)
    }
}

/// Polls the futures beside the members' bodies, for
/// [`yield_beside_all`](crate::lender::Lender::yield_beside_all). Calls `note` with the member that
/// has ended the body.
pub(crate) fn poll_beside<M: Members>(
    members: &mut M,
    drivers: &Drivers,
    note: impl FnOnce(EndedBy),
    cx: &mut Context<'_>,
) -> Poll<Result<(), M::Error>> {
    drivers.poll(cx);
    match first_end(&mut members.each()) {
        Some((by, end)) => {
            note(EndedBy {
                member: by,
                by_a_panic: matches!(end, End::Panicked(_)),
            });
            Poll::Ready(end.into_result())
        }
        None if drivers.is_empty() => Poll::Ready(Ok(())),
        None => Poll::Pending,
    }
}

/// Returns the outcome that the exit of a context sees: the body ended with `outcome`, and after
/// that the exits inside the context had `trouble`.
fn seen_outside<E: fmt::Debug + Send + Sync + 'static>(
    outcome: Outcome,
    trouble: &Trouble<E>,
) -> Outcome {
    match (outcome, trouble.outcome()) {
        (Outcome::Completed, Some(trouble)) => trouble,
        (Outcome::Failed(_), Some(panic @ Outcome::Panicked(_))) => panic,
        (
            outcome @ Outcome::Failed(_),
            None | Some(Outcome::Completed | Outcome::Failed(_) | Outcome::Cancelled),
        )
        | (outcome @ Outcome::Completed, None)
        | (outcome @ (Outcome::Panicked(_) | Outcome::Cancelled), _) => outcome,
    }
}

/// Enters all members at the same time, up to a limit. If a member fails, or if the future beside a
/// member's body ends the body, no further enter begins. Those that have begun run to their end,
/// and their contexts exit.
pub(crate) async fn enter_together<M: Members, V>(
    members: &mut M,
    limit: usize,
    drivers: &Drivers,
    mark: Mark<'_, V>,
) -> Result<(), M::Error> {
    let mut mark = Some(mark);
    let mut trouble = Trouble::new();
    {
        let mut waiting = members.each().into_iter();
        let mut names = Vec::new();
        let mut entering = Together::new();
        let mut has_ended = false;
        loop {
            while trouble.is_none() && !has_ended && entering.len() < limit {
                let Some(member) = waiting.next() else { break };
                names.push(member.name());
                entering.begin(member.enter(drivers));
            }
            let Some(next) = drivers.race(Box::pin(entering.next())).await else {
                has_ended = true;
                mark = None;
                continue;
            };
            let Some((key, (ended, kind))) = next else {
                break;
            };
            trouble.add(Failing::new(names[key], kind), ended);
            if !trouble.is_none() {
                mark = None;
            }
        }
    }
    if trouble.is_none() {
        let members = &mut members.each();
        if let Some((by, end)) = first_end(members) {
            trouble.add_end(Failing::new(members[by].name(), Kind::BesideFailed), end);
        }
    }
    let Some(outcome) = trouble.outcome() else {
        return Ok(());
    };
    drop(mark);
    let exits = exit_together(members, limit, drivers, outcome).await;
    trouble.settle_after(exits)
}

/// Exits all members at the same time, up to a limit. While a member waits for others to exit, the
/// future beside its body may fail. Its exit then sees this failure, as the end of its body.
///
/// The errors are in the order of the members.
pub(crate) async fn exit_together<M: Members>(
    members: &mut M,
    limit: usize,
    drivers: &Drivers,
    outcome: Outcome,
) -> Trouble<M::Error> {
    let mut trouble = Trouble::new();
    let mut waiting = members.each().into_iter();
    let mut names = Vec::new();
    let mut exiting = Together::new();
    for member in waiting.as_mut_slice() {
        member.end_around(&mut Context::from_waker(Waker::noop()));
    }
    loop {
        while exiting.len() < limit {
            let Some(member) = waiting.next() else { break };
            let (key, name) = (names.len(), member.name());
            names.push(name);
            let seen = match (member.take_end(), &outcome) {
                (None, _) => outcome.share(),
                (Some(end), Outcome::Completed) => {
                    let seen = end.outcome().marked_from_beside();
                    trouble.add_end_at(key, Failing::new(name, Kind::BesideFailed), end);
                    seen
                }
                (Some(end), Outcome::Failed(_) | Outcome::Panicked(_) | Outcome::Cancelled) => {
                    report_late(name, end);
                    outcome.share()
                }
            };
            exiting.begin(member.exit(seen));
        }
        let next = drivers.drive_while(Box::pin(exiting.next())).await;
        let Some((key, (ended, kind))) = next else {
            return trouble;
        };
        trouble.add_at(key, Failing::new(names[key], kind), ended);
    }
}

impl<C: AsyncContext<Verdict = ()> + 'static> Members for Vec<Member<C>> {
    type Value = Vec<C::Value>;
    type Error = C::Error;

    fn each(&mut self) -> Vec<&mut dyn AnyMember<C::Error>> {
        self.iter_mut().map(|member| member as _).collect()
    }

    fn lend(&mut self) -> Vec<C::Value> {
        self.iter_mut().map(Member::lend).collect()
    }

    fn put_back(&mut self, values: Vec<C::Value>) {
        let mut values = values.into_iter();
        for (member, value) in self.iter_mut().zip(&mut values) {
            member.put_back(value);
        }
        // The body has added these values.
        for value in values {
            drop_quietly(std::any::type_name::<Vec<C>>(), value);
        }
    }
}

impl<C: AsyncContext<Verdict = ()> + 'static, const N: usize> Members for [Member<C>; N] {
    type Value = [C::Value; N];
    type Error = C::Error;

    fn each(&mut self) -> Vec<&mut dyn AnyMember<C::Error>> {
        self.iter_mut().map(|member| member as _).collect()
    }

    fn lend(&mut self) -> [C::Value; N] {
        self.each_mut().map(Member::lend)
    }

    fn put_back(&mut self, values: [C::Value; N]) {
        for (member, value) in self.iter_mut().zip(values) {
            member.put_back(value);
        }
    }
}
