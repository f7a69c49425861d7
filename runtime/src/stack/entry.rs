//! The entries of a stack.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::context::Verdict;
use crate::coroutine::Code;
use crate::exchange::End;
use crate::failure::Failure;
use crate::outcome::{BodyError, Outcome};
use crate::panic::Payload;
use crate::report::Kind;
use crate::scope::Live;
use crate::settle::Body;

use super::AcceptedBy;

/// An entered context, without its types, which the stack does not know.
pub(super) trait Entry<E, D>: Send {
    fn name(&self) -> &'static str;

    /// Returns how this context's future beside the body has ended the body, if it has.
    fn take_end(&mut self) -> Option<EntryEnd>;

    /// Ends the body with this outcome. Returns `false` if the value has not come back, because
    /// then exit cannot run.
    fn end_body(&mut self, outcome: Outcome) -> bool;

    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<Exited<D, E>>;

    /// Exits this context alone, like a guard that is closed. Returns `None` if the value has not
    /// come back.
    fn release(self: Box<Self>) -> Option<Released<E>>;
}

/// The exit of a released entry. If this future is dropped, the exit goes on in the background.
pub(super) type Released<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// The result of an exit, or the payload of its panic, and the kind of report for its error.
pub(super) type Exited<D, E> = (Result<Result<D, E>, Payload>, Kind);

/// An entry. If this is dropped, the context exits in the background.
pub(super) type AnyEntry<E, D> = Box<dyn Entry<E, D>>;

/// The exit of an entry. If this is dropped, the exit goes on in the background.
pub(super) struct Exit<E, D>(AnyEntry<E, D>);

impl<E, D> Exit<E, D> {
    /// Ends the body, and begins the exit. Returns `None` if the value has not come back.
    pub(super) fn begin(mut entry: AnyEntry<E, D>, outcome: Outcome) -> Option<Self> {
        entry.end_body(outcome).then(|| Self(entry))
    }

    pub(super) fn name(&self) -> &'static str {
        self.0.name()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Exited<D, E>> {
        self.0.poll_exit(cx)
    }
}

/// How an entry's future beside the body ended the body. The function `convert` runs code of the
/// user.
pub(super) struct EntryEnd {
    end: End<BodyError>,
    convert: fn(BodyError) -> BodyError,
}

impl EntryEnd {
    /// Converts the error into the error type of the stack.
    pub(super) fn convert(self) -> End<BodyError> {
        match self.end {
            End::Failed(error) => {
                let convert = || (self.convert)(error);
                catch_unwind(AssertUnwindSafe(convert)).map_or_else(End::Panicked, End::Failed)
            }
            End::Panicked(payload) => End::Panicked(payload),
        }
    }
}

/// A number, and the entry with that number, or `None` once the entry was taken.
type Slot<E, D> = (u64, Option<AnyEntry<E, D>>);

/// The entries of a stack, by ascending numbers.
///
/// An entry that is taken leaves a gap in the list. When more than half of the list is gaps, all
/// gaps are removed. So it takes amortized logarithmic time to take an entry, in any order.
pub(super) struct Entries<E, D> {
    /// In the order of the numbers. The last slot is never empty.
    list: Vec<Slot<E, D>>,
    gaps: usize,
    /// The topmost entry. It is not in the list, so that a stack of one entry needs no list.
    top: Option<(u64, AnyEntry<E, D>)>,
}

impl<E, D> Entries<E, D> {
    pub(super) fn len(&self) -> usize {
        self.list.len() - self.gaps + usize::from(self.top.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.top.is_none()
    }

    /// Adds the entry, and returns its number.
    pub(super) fn push(&mut self, entry: AnyEntry<E, D>) -> u64 {
        let number = self.top.as_ref().map_or(0, |(number, _)| number + 1);
        if let Some((number, entry)) = self.top.replace((number, entry)) {
            self.list.push((number, Some(entry)));
        }
        number
    }

    pub(super) fn pop(&mut self) -> Option<(u64, AnyEntry<E, D>)> {
        let top = self.top.take();
        if let Some((number, Some(entry))) = self.list.pop() {
            self.top = Some((number, entry));
            self.close_gaps();
        }
        top
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<AnyEntry<E, D>> {
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &(dyn Entry<E, D> + 'static)> {
        let listed = self.list.iter().filter_map(|(_, entry)| entry.as_deref());
        listed.chain(self.top.as_ref().map(|(_, entry)| &**entry))
    }

    /// Returns the entries from the last to the first.
    pub(super) fn iter_down(
        &mut self,
    ) -> impl Iterator<Item = (u64, &mut (dyn Entry<E, D> + 'static))> {
        let top = self.top.iter_mut();
        let top = top.map(|(number, entry)| (*number, &mut **entry));
        let listed = self.list.iter_mut().rev();
        top.chain(listed.filter_map(|(number, entry)| Some((*number, &mut **entry.as_mut()?))))
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

impl<V, C, CE, E, D> Entry<E, D> for Live<Code<V, C, CE>>
where
    V: Send + 'static,
    C: AcceptedBy<D>,
    CE: Into<E> + fmt::Debug + Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    fn name(&self) -> &'static str {
        Live::name(self)
    }

    fn take_end(&mut self) -> Option<EntryEnd> {
        Some(EntryEnd {
            end: Live::take_end(self)?,
            convert: |error| BodyError::new(Arc::new(error.into_error::<CE>().into())),
        })
    }

    fn end_body(&mut self, outcome: Outcome) -> bool {
        let has_value = self.has_value();
        if has_value {
            Live::end_body(self, outcome);
        }
        has_value
    }

    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<Exited<D, E>> {
        let ended = ready!(Pin::new(&mut Live::exit(self)).poll(cx));
        // The conversion is user code. Its panic counts as a panic of this exit.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            Ok(ended?.map(AcceptedBy::accepted).map_err(Into::into))
        }));
        Poll::Ready((ended.unwrap_or_else(Err), self.failing().kind))
    }

    fn release(mut self: Box<Self>) -> Option<Released<E>> {
        if !self.has_value() {
            return None;
        }
        let end = Live::take_end(&mut *self);
        let owed = self.end_with(end.map_or(Body::Completed(()), Body::from));
        Some(Box::pin(async move {
            let exit = Live::exit(&mut *self).await;
            let failing = self.failing();
            let result = Failure::reporting(failing, owed.settle(failing, exit));
            result.map(|_| ()).map_err(Into::into)
        }))
    }
}
