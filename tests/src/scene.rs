//! What a program of the corpus is given: a ledger, and things that go wrong.

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
    /// What happens in it.
    pub ledger: Ledger,
    /// What goes wrong in it.
    pub faults: Faults,
}

impl Scene {
    /// A scene with a new ledger.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self {
            ledger: Ledger::default(),
            faults,
        }
    }

    /// The script of a context with this path.
    #[must_use]
    pub fn script(&self, name: &'static str) -> Script {
        Script {
            faults: self.faults.clone(),
            ..Script::new(name, &self.ledger)
        }
    }

    /// A generator with this path.
    pub fn generator(
        &self,
        name: &'static str,
    ) -> impl AsyncContext<Value = &'static str, Error = Fault, Verdict = ()> + 'static + use<>
    {
        generated(self.script(name))
    }

    /// A hand-written context with this path.
    #[must_use]
    pub fn by_hand(&self, name: &'static str) -> ByHand<()> {
        ByHand::new(self.script(name))
    }

    /// One that is open already: its value and its exit are for an `adopt`, a `defer` or a
    /// `closing`.
    #[must_use]
    pub fn opened(&self, script: Script) -> ByHand<()> {
        let Script { name, of, .. } = script;
        self.ledger.record(Fact::Enter { name, of });
        self.ledger.record(Fact::Entered(name));
        ByHand::new(script)
    }

    /// Several contexts will be used as one.
    #[must_use]
    pub fn group(&self, name: &'static str, kind: Kind) -> &'static str {
        self.ledger.record(Fact::Group(name, kind));
        name
    }

    /// An await that may fail.
    ///
    /// # Errors
    ///
    /// If this is the run for it.
    pub async fn step(&self, name: &'static str) -> Result<(), Fault> {
        pause(1).await;
        self.come("step", name, End::Ok)
    }

    /// Ends so, unless something goes wrong before.
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
    /// Its own.
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

    /// The body of this one has ended so, where it is no future of its own.
    pub fn ended<R>(&self, label: &'static str, result: &Result<R, Fault>) {
        let seen = match result {
            Ok(_) => Seen::Completed,
            Err(Fault(name)) => Seen::Failed(name),
        };
        self.ledger.record(Fact::Body(label, seen));
    }

    /// The program deals with the error itself.
    pub fn handle<R>(&self, result: Result<R, Fault>) -> Option<R> {
        match result {
            Ok(value) => Some(value),
            Err(Fault(name)) => {
                self.ledger.record(Fact::Handled(name));
                None
            }
        }
    }

    /// A use of a context with one step, as a future that can be a part of a spawned task.
    ///
    /// # Errors
    ///
    /// As [`with`](AsyncContextExt::with).
    pub async fn work(&self, name: &'static str) -> Result<(), Fault> {
        let body = async |_: &mut &'static str| self.body(name, self.step(name)).await;
        self.by_hand(name).with(body).await
    }

    /// The program deals with errors and panics itself.
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

    /// Uses the context of this path around this body.
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

/// Ends so at a place that may fail, and records what came up there. What is injected has the name
/// of the place.
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

/// The same name, for ever. There are not many.
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
