//! The entries of a stack.
//!
//! A stack does not know the types of its contexts. The code of an entry converts error and verdict
//! into those of the stack. The value goes from the exchange to the lease, and back, so the stack
//! needs to know only whether the value is there.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Waker};

use pin_project_lite::pin_project;

use crate::code::{Lending, Lends, Reached, Routine, Split};
use crate::context::{AsyncContext, Verdict};
use crate::converted::Converted;
use crate::coroutine::Code;
use crate::door;
use crate::exchange::{Life, Loan, Slot as Value};
use crate::failure::Failure;
use crate::order::Kind as Hold;
use crate::report::drop_quietly;
use crate::scope::Live;
use crate::settle::Body;

use super::AcceptedBy;

/// A context in a stack.
pub(super) type Entry<E, D> = Live<Code<(), D, E>>;

/// Returns an entry whose enter has not begun, and the loan of its value.
pub(super) fn entry<C, E, D>(context: C) -> (Entry<E, D>, Loan<C::Value>)
where
    C: AsyncContext<Verdict: AcceptedBy<D>, Error: Into<E>> + 'static,
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    let name = context.__name();
    let watch = door::watch(name, Hold::Guard);
    let code = Lending::new(watch.part(), |lender| {
        let link = lender.link();
        let code = context.__coroutine(lender);
        Converted::new(code, link, |error: C::Error| error.into())
    });
    let loan = code.loan();
    let code = EntryCode {
        name,
        is_there: None,
        verdict: PhantomData,
        code,
    };
    (Live::of_code(name, watch, Hold::Guard, code), loan)
}

pin_project! {
    /// The code of an entry, without the type of its value.
    struct EntryCode<V, F, D> {
        name: &'static str,
        // `Some` if the value is in the exchange.
        is_there: Option<()>,
        verdict: PhantomData<fn() -> D>,
        #[pin]
        code: Lending<V, F>,
    }

    impl<V, F, D> PinnedDrop for EntryCode<V, F, D> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // The value drops first, because it may need something that the code holds.
            drop_quietly(this.name, this.code.slot().take());
        }
    }
}

impl<V, F, D> Lends for EntryCode<V, F, D> {
    type Value = ();

    fn life(&self) -> &Life {
        self.code.life()
    }

    fn slot(self: Pin<&mut Self>) -> Value<'_, ()> {
        let this = self.project();
        *this.is_there = this.code.slot().has_value().then_some(());
        Value::Own(this.is_there)
    }
}

impl<V, F, C, D, E> Routine for EntryCode<V, F, D>
where
    F: Future<Output = Result<C, E>> + Send,
    C: AcceptedBy<D>,
    D: Verdict,
{
    type Output = Result<D, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Reached<Result<D, E>> {
        match self.project().code.poll(cx) {
            Reached::Waits => Reached::Waits,
            Reached::Lends => Reached::Lends,
            Reached::Ended(exit) => Reached::Ended(exit.map(AcceptedBy::accepted)),
        }
    }

    fn split(self: Pin<&mut Self>) -> Split<'_, ()> {
        let this = self.project();
        let (life, _, company) = this.code.split();
        (life, Value::Own(this.is_there), company)
    }
}

/// Exits an entry alone, like a guard that is closed. Returns `None` if the value has not come
/// back.
pub(super) fn release<E, D>(mut entry: Entry<E, D>) -> Option<Released<E>>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    if !entry.has_value() {
        return None;
    }
    // At once, because the exit may be polled much later.
    entry.end_around(&mut Context::from_waker(Waker::noop()));
    let end = entry.take_end();
    let owed = entry.end_with(end.map_or(Body::Completed(()), Body::from));
    Some(Box::pin(async move {
        let exit = entry.exit().await;
        let failing = entry.failing();
        Failure::reporting(failing, owed.settle(failing, exit)).map(|_| ())
    }))
}

/// The exit of a released entry. If this future is dropped, the exit goes on in the background.
pub(super) type Released<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// A number, and the entry with that number, or `None` once the entry was taken.
type Slot<E, D> = (u64, Option<Entry<E, D>>);

/// The entries of a stack, by ascending numbers.
///
/// An entry that is taken leaves a gap in the list. When more than half of the list is gaps, all
/// gaps are removed. So it takes amortized logarithmic time to take an entry, in any order.
pub(super) struct Entries<E, D> {
    /// In the order of the numbers. The last slot is never empty.
    list: Vec<Slot<E, D>>,
    gaps: usize,
    /// The topmost entry. It is not in the list, so that a stack of one entry needs no list.
    top: Option<(u64, Entry<E, D>)>,
}

impl<E, D> Entries<E, D> {
    pub(super) fn len(&self) -> usize {
        self.list.len() - self.gaps + usize::from(self.top.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.top.is_none()
    }

    /// Adds the entry, and returns its number.
    pub(super) fn push(&mut self, entry: Entry<E, D>) -> u64 {
        let number = self.top.as_ref().map_or(0, |(number, _)| number + 1);
        if let Some((number, entry)) = self.top.replace((number, entry)) {
            self.list.push((number, Some(entry)));
        }
        number
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Entry<E, D>)> {
        let top = self.top.take();
        if let Some((number, Some(entry))) = self.list.pop() {
            self.top = Some((number, entry));
            self.close_gaps();
        }
        top
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Entry<E, D>> {
        if self.top.as_ref().is_some_and(|(top, _)| *top == number) {
            return self.pop().map(|(_, entry)| entry);
        }
        let index = self
            .list
            .binary_search_by_key(&number, |(number, _)| *number);
        let entry = self.list[index.ok()?].1.take()?;
        self.gaps += 1;
        self.close_gaps();
        Some(entry)
    }

    fn close_gaps(&mut self) {
        while let Some((_, None)) = self.list.last() {
            self.list.pop();
            self.gaps -= 1;
        }
        if self.gaps > self.list.len() / 2 {
            self.list.retain(|(_, entry)| entry.is_some());
            self.gaps = 0;
        }
    }

    /// Adds the entries of another stack, with new numbers.
    pub(super) fn append(&mut self, others: Self) {
        let listed = others.list.into_iter().filter_map(|(_, entry)| entry);
        for entry in listed.chain(others.top.map(|(_, entry)| entry)) {
            self.push(entry);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<E, D>> {
        let listed = self.list.iter().filter_map(|(_, entry)| entry.as_ref());
        listed.chain(self.top.as_ref().map(|(_, entry)| entry))
    }

    /// Returns the entries from the last to the first.
    pub(super) fn iter_down(&mut self) -> impl Iterator<Item = (u64, &mut Entry<E, D>)> {
        let top = self.top.iter_mut();
        let top = top.map(|(number, entry)| (*number, entry));
        let listed = self.list.iter_mut().rev();
        top.chain(listed.filter_map(|(number, entry)| Some((*number, entry.as_mut()?))))
    }
}

impl<E, D> Default for Entries<E, D> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            gaps: 0,
            top: None,
        }
    }
}
