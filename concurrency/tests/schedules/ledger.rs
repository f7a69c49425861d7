//! The ledger of a story: the steps of its contexts, in order.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task;

use crate::context::AsyncContext;
use crate::generator::{Lender, generator};
use crate::report;

/// The error of the contexts here.
#[derive(Debug)]
pub(crate) struct Trouble;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Entered,
    ExitBegins,
    ExitEnds,
    /// The use of the context has returned to its caller.
    Returned,
    Reported(report::Kind),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<(&'static str, Step)>>>);

impl Ledger {
    /// Returns a context with an await in enter and another in exit.
    pub(crate) fn context(
        &self,
        name: &'static str,
    ) -> impl AsyncContext<Value = (), Error = Trouble, Verdict = ()> + use<> {
        self.exiting(name, async { Ok(()) })
    }

    /// Returns a context whose exit awaits `exit`, and ends with its result.
    pub(crate) fn exiting<F>(
        &self,
        name: &'static str,
        exit: F,
    ) -> impl AsyncContext<Value = (), Error = Trouble, Verdict = ()> + use<F>
    where
        F: Future<Output = Result<(), Trouble>> + Send,
    {
        let ledger = self.clone();
        generator(name, async move |lender: Lender<(), _>| {
            task::yield_now().await;
            ledger.note(name, Step::Entered);
            lender.yield_(()).await;
            ledger.note(name, Step::ExitBegins);
            task::yield_now().await;
            let exited = exit.await;
            ledger.note(name, Step::ExitEnds);
            exited
        })
    }

    pub(crate) fn note(&self, name: &'static str, step: Step) {
        self.steps().push((name, step));
    }

    /// Notes all reports from now on.
    pub(crate) fn hook(&self) {
        let ledger = self.clone();
        report::set_hook(move |report| {
            ledger.note(report.context(), Step::Reported(report.kind()));
        });
    }

    pub(crate) fn count(&self, name: &'static str, step: Step) -> usize {
        let steps = self.steps();
        steps.iter().filter(|noted| **noted == (name, step)).count()
    }

    pub(crate) fn has(&self, name: &'static str, step: Step) -> bool {
        self.count(name, step) > 0
    }

    /// Checks that each of these contexts that was entered has been exited once, before the exit of
    /// the next one began, and that nothing was reported about them.
    pub(crate) fn check(&self, inside_out: &[&'static str]) {
        for name in inside_out {
            let entered = self.count(name, Step::Entered);
            let exits = [Step::ExitBegins, Step::ExitEnds].map(|step| self.count(name, step));
            assert!(entered <= 1 && exits == [entered; 2], "`{name}`: {self:?}");
        }
        let steps = self.steps();
        let is_reported =
            |(name, step): &(_, _)| inside_out.contains(name) && matches!(step, Step::Reported(_));
        assert!(!steps.iter().any(is_reported), "{steps:?}");
        let position = |name, step| steps.iter().position(|noted| *noted == (name, step));
        for pair in inside_out.windows(2) {
            let ended = position(pair[0], Step::ExitEnds);
            let begun = position(pair[1], Step::ExitBegins);
            assert!(ended.is_none() || ended < begun, "{steps:?}");
        }
    }

    /// Checks that a context that may have been opened several times, one after the other, has been
    /// closed as often. Returns this number.
    pub(crate) fn check_in_turn(&self, name: &'static str) -> usize {
        let steps = self.steps();
        let of_it: Vec<_> = steps.iter().filter(|noted| noted.0 == name).collect();
        for turn in of_it.chunks(3) {
            let turn: Vec<_> = turn.iter().map(|noted| noted.1).collect();
            let whole = [Step::Entered, Step::ExitBegins, Step::ExitEnds];
            assert_eq!(turn, whole, "{steps:?}");
        }
        of_it.len() / 3
    }

    fn steps(&self) -> MutexGuard<'_, Vec<(&'static str, Step)>> {
        self.0.lock().expect("nothing panics under this lock")
    }
}
