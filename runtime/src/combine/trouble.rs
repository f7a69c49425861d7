//! What goes wrong in several contexts that are entered or exited as one.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::exchange::End;
use crate::outcome::{BodyError, BodyPanic, Outcome};
use crate::panic::Payload;
use crate::report::{self, Failing, Kind};
use crate::settle::unshare;

/// Errors and at most one panic, until the caller takes the first of them. The others are reported.
/// If nobody takes the first, it is reported as well.
pub(crate) struct Trouble<E: fmt::Debug + Send + Sync + 'static> {
    errors: Vec<(usize, Failing, Arc<E>)>,
    panic: Option<(&'static str, Payload)>,
}

impl<E: fmt::Debug + Send + Sync + 'static> Trouble<E> {
    pub(crate) fn new() -> Self {
        Self {
            errors: Vec::new(),
            panic: None,
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.errors.is_empty() && self.panic.is_none()
    }

    pub(crate) fn add(&mut self, failing: Failing, ended: Result<Result<(), E>, Payload>) {
        self.add_at(self.errors.len(), failing, ended);
    }

    /// Adds the end of a body by the future beside it.
    pub(crate) fn add_end(&mut self, failing: Failing, end: End<BodyError>) {
        self.add_end_at(self.errors.len(), failing, end);
    }

    /// As [`add_end`](Self::add_end), with a position as in [`add_at`](Self::add_at).
    pub(crate) fn add_end_at(&mut self, position: usize, failing: Failing, end: End<BodyError>) {
        match end {
            End::Failed(error) => self.errors.push((position, failing, error.into_shared())),
            End::Panicked(payload) => self.add_at(position, failing, Err(payload)),
        }
    }

    /// As [`add`](Self::add), but with a position for the error. The caller gets the error with the
    /// lowest position, even if another error happened earlier.
    pub(crate) fn add_at(
        &mut self,
        position: usize,
        failing: Failing,
        ended: Result<Result<(), E>, Payload>,
    ) {
        match (ended, &self.panic) {
            (Ok(Ok(())), _) => {}
            (Ok(Err(error)), _) => self.errors.push((position, failing, Arc::new(error))),
            (Err(payload), None) => self.panic = Some((failing.context, payload)),
            (Err(payload), Some(_)) => report::panic(failing.context, Kind::Panicked, payload),
        }
    }

    /// As [`add`](Self::add), but keeps only the first error and the first panic, for the caller.
    /// Returns the others, which are reported when they drop.
    pub(crate) fn add_first(
        &mut self,
        failing: Failing,
        ended: Result<Result<(), E>, Payload>,
    ) -> Self {
        let mut rest = Self::new();
        let is_kept = match &ended {
            Ok(_) => self.is_none(),
            Err(_) => self.panic.is_none(),
        };
        let trouble = if is_kept { self } else { &mut rest };
        trouble.add(failing, ended);
        rest
    }

    /// Returns the outcome for contexts that must exit because of this trouble, if there is
    /// trouble.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        if let Some((_, payload)) = &self.panic {
            return Some(Outcome::Panicked(BodyPanic::new(&**payload)));
        }
        let (_, _, error) = self.errors.first()?;
        Some(Outcome::Failed(BodyError::new(Arc::clone(error))))
    }

    /// Returns the kind of report for the first error, which is reported if the caller has left.
    pub(crate) fn kind(&self) -> Kind {
        let first = self.errors.iter().min_by_key(|(position, ..)| *position);
        first.map_or(Kind::ExitFailed, |(_, failing, _)| failing.kind)
    }

    /// Returns the first error, for the caller. All contexts that have seen the outcome of this
    /// trouble must have ended, because they share the error.
    ///
    /// # Panics
    ///
    /// If there is a panic.
    pub(crate) fn settle(mut self) -> Result<(), E> {
        if let Some((_, payload)) = self.panic.take() {
            drop(self);
            resume_unwind(payload);
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        self.errors.sort_by_key(|(position, ..)| *position);
        let (_, _, error) = self.errors.remove(0);
        Err(unshare(error))
    }

    /// As [`settle`](Self::settle), after the exits that this trouble has caused.
    ///
    /// # Panics
    ///
    /// If there is a panic, which may be the panic of one of those exits.
    pub(crate) fn settle_after(self, exits: Self) -> Result<(), E> {
        if self.panic.is_none() && exits.panic.is_some() {
            drop(self);
            return exits.settle();
        }
        drop(exits);
        self.settle()
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> Drop for Trouble<E> {
    fn drop(&mut self) {
        for (_, failing, error) in self.errors.drain(..) {
            failing.report(error);
        }
        if let Some((context, payload)) = self.panic.take() {
            report::panic(context, Kind::Panicked, payload);
        }
    }
}
