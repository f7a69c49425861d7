//! The argument of a program of the corpus: a ledger, and faults.

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

use async_context_manager::SendBody;
use async_context_manager::prelude::*;
use async_context_manager::testing::Faults;
use futures::FutureExt;

use crate::{ByHand, End, Fact, Fault, Kind, Ledger, Script, Seen, generated, pause};

/// One run of one program.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// The events of the run.
    pub ledger: Ledger,
    /// The faults of the run.
    pub faults: Faults,
}

impl Scene {
    /// Returns a scene with a new ledger.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self {
            ledger: Ledger::default(),
            faults,
        }
    }

    /// Returns the script of a context with this path.
    #[must_use]
    pub fn script(&self, name: &'static str) -> Script {
        Script {
            faults: self.faults.clone(),
            ..Script::new(name, &self.ledger)
        }
    }

    /// Returns a generator with this path.
    pub fn generator(
        &self,
        name: &'static str,
    ) -> impl AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + 'static + use<>
    {
        generated(self.script(name))
    }

    /// Returns a hand-written context with this path.
    #[must_use]
    pub fn by_hand(&self, name: &'static str) -> ByHand<()> {
        ByHand::new(self.script(name))
    }

    /// Returns an open context, whose value and exit are for an `adopt`, a `defer` or a `closing`.
    #[must_use]
    pub fn opened(&self, script: Script) -> ByHand<()> {
        let Script { name, of, .. } = script;
        self.ledger.record(Fact::Enter { name, of });
        self.ledger.record(Fact::Entered(name));
        ByHand::new(script)
    }

    /// Announces that several contexts will be used as one.
    #[must_use]
    pub fn group(&self, name: &'static str, kind: Kind) -> &'static str {
        self.ledger.record(Fact::Group(name, kind));
        name
    }

    /// Awaits once, and may fail.
    ///
    /// # Errors
    ///
    /// If the run lets this await fail.
    pub async fn step(&self, name: &'static str) -> Result<(), Fault> {
        pause(1).await;
        self.come("step", name, End::Ok)
    }

    /// Ends as `end` says, unless something else goes wrong before.
    ///
    /// # Errors
    ///
    /// For [`End::Fail`].
    pub fn come(&self, part: &str, name: &str, end: End) -> Result<(), Fault> {
        come_at(part, name, end, &self.ledger, &self.faults).map(|_| ())
    }

    /// Runs a body, and records its end.
    ///
    /// # Errors
    ///
    /// The body's error.
    pub async fn body<R>(
        &self,
        label: &'static str,
        body: impl Future<Output = Result<R, Fault>>,
    ) -> Result<R, Fault> {
        let running = self.ledger.unless_over(Fact::Dropped(label));
        let ended = AssertUnwindSafe(body).catch_unwind().await;
        running.is_over();
        match &ended {
            Ok(result) => self.ended(label, result),
            Err(payload) => {
                let seen = Seen::panicked(&**payload);
                self.ledger.record(Fact::Body(label, seen));
            }
        }
        ended.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Records the end of a body that is not a future of its own.
    pub fn ended<R>(&self, label: &'static str, result: &Result<R, Fault>) {
        let seen = match result {
            Ok(_) => Seen::Completed,
            Err(Fault(name)) => Seen::Failed(name),
        };
        self.ledger.record(Fact::Body(label, seen));
    }

    /// Records that the program deals with the error itself, and returns the value.
    pub fn handle<R>(&self, result: Result<R, Fault>) -> Option<R> {
        match result {
            Ok(value) => Some(value),
            Err(Fault(name)) => {
                self.ledger.record(Fact::Handled(name));
                None
            }
        }
    }

    /// Uses a context with one step, as a future that can be a part of a spawned task.
    ///
    /// # Errors
    ///
    /// As [`with`](AsyncContextExt::with).
    pub async fn work(&self, name: &'static str) -> Result<(), Fault> {
        let body = async |_: &mut &'static str| self.body(name, self.step(name)).await;
        self.by_hand(name).with(body).await
    }

    /// Records that the program deals with errors and panics itself.
    pub async fn handle_all<R>(&self, future: impl Future<Output = Result<R, Fault>>) {
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(result) => drop(self.handle(result)),
            Err(payload) => {
                if let Seen::Panicked(name) = Seen::panicked(&*payload) {
                    self.ledger.record(Fact::Handled(name));
                }
            }
        }
    }

    /// Uses the context around this body.
    ///
    /// # Errors
    ///
    /// As [`with`](AsyncContextExt::with).
    pub async fn with<C, R>(
        &self,
        context: C,
        label: &'static str,
        body: impl for<'a> SendBody<&'a mut C::Value, Result<R, Fault>>,
    ) -> Result<<C::Verdict as async_context_manager::Verdict>::Output<R>, Fault>
    where
        C: AsyncContext<Error = Fault> + 'static,
        R: Send,
    {
        let body = async |value: &mut C::Value| self.body(label, body(value)).await;
        context.with(body).await
    }
}

/// Ends as `end` says, at a place that may fail, and records the error or panic. An injected fault
/// has the name of the place.
///
/// # Errors
///
/// For [`End::Fail`], or an injected error.
///
/// # Panics
///
/// For [`End::Panic`], or an injected panic.
pub fn come_at(
    part: &str,
    name: &str,
    end: End,
    ledger: &Ledger,
    faults: &Faults,
) -> Result<Suppression, Fault> {
    let place = intern(&format!("{part} {name}"));
    let end = match catch_unwind(AssertUnwindSafe(|| faults.point(place))) {
        Ok(Ok(())) => end,
        Ok(Err(_)) => End::Fail(place),
        Err(_) => End::Panic(place),
    };
    match end {
        End::Fail(error) => ledger.record(Fact::Raised(error)),
        End::Panic(message) => ledger.record(Fact::Panicked(message)),
        End::Ok | End::Suppress => {}
    }
    end.come()
}

/// Leaks the name, but only once for equal names, of which there are few.
pub(crate) fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    name
}
