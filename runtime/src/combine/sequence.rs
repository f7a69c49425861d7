//! Contexts that are entered one after the other, and exited in reverse.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use crate::combine::members::{
    Ended, Entered, Member, Members, enter_in_order, exit_in_reverse, poll_beside, unwind,
};
use crate::combine::trouble::Trouble;
use crate::context::AsyncContext;
use crate::driven::Drivers;
use crate::exchange::End;
use crate::lender::Lender;
use crate::outcome::{BodyError, Outcome};
use crate::panic::catch;
use crate::report::{Failing, Kind, drop_quietly};

/// Enters all contexts, one after the other, and exits them in reverse, as nested contexts do. The
/// value is the list of their values, in order. In Python, this is a loop of
/// `stack.enter_async_context`.
///
/// ```
/// use async_context_manager::prelude::*;
/// use std::io;
///
/// #[async_context]
/// async fn lock(name: &'static str) -> io::Result<&'static str> {
///     let (name, _) = yield_!(name);
///     println!("unlock {name}");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let names = ["accounts", "journal"];
/// let locks: Vec<_> = names.into_iter().map(lock).collect();
/// let held = locks.with(async |held| Ok(held.join(", "))).await?; // unlock journal, unlock accounts
/// assert_eq!(held, "accounts, journal");
/// # Ok(())
/// # }
/// ```
///
/// All contexts must have the same type, and therefore the same error.
/// [`boxed`](crate::AsyncContextExt::boxed) and [`err_into`](crate::AsyncContextExt::err_into)
/// convert them. None of them may suppress errors: for contexts that do, use an
/// [`ExitStack`](crate::ExitStack). To enter and exit at the same time, use
/// [`join_all`](crate::join_all).
///
/// The body gets the list itself. If the body takes values out of the list, their exits cannot run,
/// and that is [reported](crate::report::Kind::NotRun). If the body sorts the list, each exit gets
/// the value that is then at its index.
///
/// # Errors
///
/// If an enter fails, the error of that enter. The contexts before it exit and see the error, and
/// the contexts after it are not entered. If all enters succeed, the first error of an exit. The
/// other errors are [reported](crate::report).
///
/// # Cancel safety
///
/// If the future is dropped during enter, the context that is entering goes on in the background
/// and exits. The contexts before it exit after it, and the contexts after it are never entered.
impl<C: AsyncContext<Verdict = ()> + 'static> AsyncContext for Vec<C> {
    type Value = Vec<C::Value>;
    type Error = C::Error;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<Vec<C::Value>, C::Error> {
        let mut trouble = Trouble::new();
        let mut values = Vec::with_capacity(self.len());
        for context in self.iter_mut() {
            let failing = Failing::new(context.__name(), Kind::EnterFailed);
            match catch(context.enter()).await {
                Ok(Ok(value)) => values.push(value),
                Ok(Err(error)) => trouble.add(failing, Ok(Err(error))),
                Err(payload) => trouble.add(failing, Err(payload)),
            }
            if !trouble.is_none() {
                break;
            }
        }
        let Some(outcome) = trouble.outcome() else {
            return Ok(values);
        };
        let exits = unwind_by_hand(std::mem::take(self), values, outcome).await;
        trouble.settle_after(exits).map(|()| Vec::new())
    }

    /// If the future of one member fails, all contexts see that error as an error of the body. Code
    /// that calls this method by hand does not learn which member's future has failed.
    async fn beside(&mut self) -> Result<(), C::Error> {
        let mut running: Vec<_> = self
            .iter_mut()
            .map(|it| Some(Box::pin(it.beside())))
            .collect();
        poll_fn(|cx| {
            for one in &mut running {
                match one.as_mut().map(|running| running.as_mut().poll(cx)) {
                    Some(Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
                    Some(Poll::Ready(Ok(()))) => *one = None,
                    Some(Poll::Pending) | None => {}
                }
            }
            if running.iter().all(Option::is_none) {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    async fn exit(self, values: Vec<C::Value>, outcome: &Outcome) -> Result<(), C::Error> {
        unwind_by_hand(self, values, outcome.share()).await.settle()
    }

    fn __coroutine(
        self,
        lender: Lender<Vec<C::Value>, C::Error>,
    ) -> impl Future<Output = Result<(), C::Error>> + Send {
        let members: Vec<_> = self.into_iter().map(Member::around_others).collect();
        run(members, lender)
    }
}

/// Enters and exits all contexts, as a `Vec` of contexts does. The value is an array of their
/// values.
///
/// ```
/// use async_context_manager::prelude::*;
/// # use std::io;
/// # #[async_context]
/// # async fn lock(name: &'static str) -> io::Result<&'static str> {
/// #     let (_, _) = yield_!(name);
/// #     Ok(())
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let held = ["accounts", "journal"]
///     .map(lock)
///     .with(async |[accounts, journal]| Ok(accounts.len() + journal.len()))
///     .await?;
/// assert_eq!(held, 15);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// If `enter` is called by hand. No context has been entered then. Such an enter could not clean up
/// if one of the contexts failed to enter: exit consumes a context, and no context can be taken out
/// of an array. A `Vec` can be entered by hand.
impl<C: AsyncContext<Verdict = ()> + 'static, const N: usize> AsyncContext for [C; N] {
    type Value = [C::Value; N];
    type Error = C::Error;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<[C::Value; N], C::Error> {
        panic!("an array of contexts can't be entered by hand: use a `Vec`, or `with`")
    }

    async fn exit(self, values: [C::Value; N], outcome: &Outcome) -> Result<(), C::Error> {
        let exits = unwind_by_hand(self.into(), values.into(), outcome.share());
        exits.await.settle()
    }

    fn __coroutine(
        self,
        lender: Lender<[C::Value; N], C::Error>,
    ) -> impl Future<Output = Result<(), C::Error>> + Send {
        run(self.map(Member::around_others), lender)
    }
}

async fn run<M: Members>(members: M, lender: Lender<M::Value, M::Error>) -> Result<(), M::Error> {
    let drivers = Drivers::polled();
    let mut members = LastFirst(members);
    enter_in_order(&mut members.0, &drivers, lender.mark()).await?;
    let (values, mut ended_by) = (members.0.lend(), None);
    let beside = |cx: &mut Context<'_>| {
        let has_a_body = lender.exchange().has_a_body();
        if !has_a_body {
            // The bodies of the other members contain the exit of the last one.
            if let Some(last) = members.0.each().last_mut() {
                last.end_around(cx);
            }
        }
        // Once the body is over, a failure comes too late to end it.
        let note = |by| ended_by = ended_by.or(has_a_body.then_some(by));
        poll_beside(&mut members.0, &drivers, note, cx)
    };
    let (values, outcome) = lender.yield_beside_all(values, beside).await;
    members.0.put_back(values);
    let ended_by = ended_by.and_then(|by| by.member_of(outcome));
    let exits = exit_in_reverse(&mut members.0, &drivers, outcome.share(), ended_by).await;
    lender.fail_as(exits.kind());
    exits.settle()
}

/// Members that are given up in reverse order when this drops.
struct LastFirst<M: Members>(M);

impl<M: Members> Drop for LastFirst<M> {
    fn drop(&mut self) {
        for member in self.0.each().into_iter().rev() {
            member.give_up();
        }
    }
}

/// A context that was entered by hand, with its value, until its exit begins.
struct ByHand<C: AsyncContext>(&'static str, Option<(C, C::Value)>);

impl<C: AsyncContext<Verdict = ()>> Entered<C::Error> for ByHand<C> {
    fn name(&self) -> &'static str {
        self.0
    }

    /// Whoever enters by hand also looks after the future beside the body.
    fn take_end(&mut self) -> Option<End<BodyError>> {
        None
    }

    fn exit(&mut self, outcome: Outcome) -> Ended<'_, C::Error> {
        let entered = self.1.take();
        Box::pin(async move {
            let (context, value) = entered.expect("each exits once");
            (catch(context.exit(value, &outcome)).await, Kind::ExitFailed)
        })
    }
}

/// Exits the contexts that have a value, in reverse, as nested contexts do.
async fn unwind_by_hand<C: AsyncContext<Verdict = ()>>(
    contexts: Vec<C>,
    values: Vec<C::Value>,
    outcome: Outcome,
) -> Trouble<C::Error> {
    let mut entered = Vec::with_capacity(values.len());
    let mut values = values.into_iter();
    for context in contexts {
        let name = context.__name();
        match values.next() {
            Some(value) => entered.push(ByHand(name, Some((context, value)))),
            None => drop_quietly(name, context),
        }
    }
    for value in values {
        drop_quietly(std::any::type_name::<Vec<C>>(), value);
    }
    let mut entered: Vec<_> = entered.iter_mut().collect();
    unwind(&mut entered, &Drivers::polled(), outcome, None).await
}
