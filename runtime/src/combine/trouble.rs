//! What goes wrong in several contexts that are entered, or exited, as one.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::exchange::End;
use crate::outcome::{BodyError, BodyPanic, Outcome};
use crate::panic::Payload;
use crate::report::{self, Failing, Kind};
use crate::settle::unshare;

/// Errors, and a panic, until somebody gets the first of them. The others are reported, and all are
/// where nobody gets any.
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

    /// Was it well?
    pub(crate) fn is_none(&self) -> bool {
        self.errors.is_empty() && self.panic.is_none()
    }

    /// What the enter, or the exit, of this context gave.
    pub(crate) fn add(&mut self, failing: Failing, ended: Result<Result<(), E>, Payload>) {
        self.add_at(self.errors.len(), failing, ended);
    }

    /// What has ended the body of this context from beside.
    pub(crate) fn add_end(&mut self, failing: Failing, end: End<BodyError>) {
        match end {
            End::Failed(error) => {
                let position = self.errors.len();
                self.errors.push((position, failing, error.into_shared()));
            }
            End::Panicked(payload) => self.add(failing, Err(payload)),
        }
    }

    /// As [`add`](Self::add), where the errors have an order other than that in time.
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

    /// As [`add`](Self::add), and keeps only the first error and the first panic, for the caller.
    /// What is not kept it gives, to be reported when that drops.
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

    /// How this looks to the contexts that have to exit because of it.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        if let Some((_, payload)) = &self.panic {
            return Some(Outcome::Panicked(BodyPanic::new(&**payload)));
        }
        let (_, _, error) = self.errors.first()?;
        Some(Outcome::Failed(BodyError::new(Arc::clone(error))))
    }

    /// As what the error is reported that goes to the caller, if that one has left.
    pub(crate) fn kind(&self) -> Kind {
        let first = self.errors.iter().min_by_key(|(position, ..)| *position);
        first.map_or(Kind::ExitFailed, |(_, failing, _)| failing.kind)
    }

    /// For the caller. All contexts that have seen an outcome of this have ended.
    ///
    /// # Panics
    ///
    /// With the first panic.
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

    /// As [`settle`](Self::settle), after the exits that this has led to.
    ///
    /// # Panics
    ///
    /// With the first panic, also if it is one of those exits.
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
