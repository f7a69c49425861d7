//! The same scripted context in each form that a user can write one.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use async_context_manager::prelude::*;
use async_context_manager::testing::Faults;

use crate::{Fact, Fault, Ledger, Seen, come_at, pause};

/// The way in which a part of a context, or a body, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With `Ok`.
    Ok,
    /// With `Ok(Suppression::Suppress)`, if it may suppress.
    Suppress,
    /// With this error.
    Fail(&'static str),
    /// With a panic of this message.
    Panic(&'static str),
}

impl End {
    /// Ends in this way.
    ///
    /// # Errors
    ///
    /// For [`End::Fail`].
    ///
    /// # Panics
    ///
    /// For [`End::Panic`].
    pub fn come(self) -> Result<Suppression, Fault> {
        match self {
            Self::Ok => Ok(Suppression::Propagate),
            Self::Suppress => Ok(Suppression::Suppress),
            Self::Fail(error) => Err(Fault(error)),
            // Not `panic!`, whose message would fill the output of the tests.
            Self::Panic(message) => std::panic::resume_unwind(Box::new(message)),
        }
    }
}

/// The script of the future beside a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    /// The number of polls after which the future ends.
    pub turns: usize,
    /// How the future ends. `None` if it goes on, unless a fault occurs in it.
    pub end: Option<End>,
}

/// The script of a context. Enter and exit are each pending twice, so that the context can be
/// dropped in them.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its name in the ledger.
    pub name: &'static str,
    /// The ledger that it writes to.
    pub ledger: Ledger,
    /// How enter ends.
    pub enter: End,
    /// How exit ends.
    pub exit: End,
    /// The other faults of the context.
    pub faults: Faults,
    /// The context that this one is a member of: a stack, a `Vec`, a join.
    pub of: Option<&'static str>,
    /// The future beside the body. A context without such a future ignores this script.
    pub beside: Beside,
    /// How long its enter takes.
    pub enters_in: Duration,
    /// How long its exit takes.
    pub exits_in: Duration,
}

impl Script {
    /// Returns a script without failures, which only writes to the ledger.
    #[must_use]
    pub fn new(name: &'static str, ledger: &Ledger) -> Self {
        Self {
            name,
            ledger: ledger.clone(),
            enter: End::Ok,
            exit: End::Ok,
            faults: Faults::default(),
            of: None,
            beside: Beside::default(),
            enters_in: Duration::ZERO,
            exits_in: Duration::ZERO,
        }
    }

    /// Sets how enter ends.
    #[must_use]
    pub fn enter(self, enter: End) -> Self {
        Self { enter, ..self }
    }

    /// Sets how exit ends.
    #[must_use]
    pub fn exit(self, exit: End) -> Self {
        Self { exit, ..self }
    }

    /// Sets after how many turns the future beside the body ends, and how.
    #[must_use]
    pub fn beside(self, turns: usize, end: Option<End>) -> Self {
        Self {
            beside: Beside { turns, end },
            ..self
        }
    }

    /// Makes this a member of `of`.
    #[must_use]
    pub fn of(self, of: &'static str) -> Self {
        Self {
            of: Some(of),
            ..self
        }
    }

    async fn run_enter(&self) -> Result<&'static str, Fault> {
        let Self { name, of, .. } = *self;
        self.ledger.note(format!("enter {name}"));
        self.ledger.record(Fact::Enter { name, of });
        let entering = self.ledger.unless_over(Fact::NotEntered(name));
        pause(2).await;
        wait(self.enters_in).await;
        come_at("enter", name, self.enter, &self.ledger, &self.faults)?;
        entering.is_over();
        self.ledger.note(format!("entered {name}"));
        self.ledger.record(Fact::Entered(name));
        Ok(name)
    }

    async fn run_beside(&self) -> Result<(), Fault> {
        let (name, Beside { turns, end }) = (self.name, self.beside);
        self.ledger.record(Fact::Beside(name));
        let _gone = self.ledger.unless_over(Fact::NotBeside(name));
        pause(turns).await;
        let how = end.unwrap_or(End::Ok);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            come_at("beside", name, how, &self.ledger, &self.faults)
        }));
        if matches!(ended, Ok(Ok(_))) {
            if end.is_none() {
                pending::<()>().await;
            }
            return Ok(());
        }
        let seen = match &ended {
            Ok(Ok(_)) => Seen::Completed,
            Ok(Err(Fault(error))) => Seen::Failed(error),
            Err(payload) => Seen::panicked(&**payload),
        };
        self.ledger.record(Fact::EndedBeside(name, seen));
        ended
            .unwrap_or_else(|payload| resume_unwind(payload))
            .map(|_| ())
    }

    async fn run_exit(&self, outcome: &Outcome) -> Result<Suppression, Fault> {
        let name = self.name;
        let seen = match outcome {
            Outcome::Completed => "completed".to_owned(),
            Outcome::Failed(error) => format!("failed({error:?})"),
            Outcome::Panicked(panic) => format!("panicked({})", panic.message()),
            Outcome::Cancelled => "cancelled".to_owned(),
            other => format!("{other:?}"),
        };
        self.ledger.note(format!("exit {name}: {seen}"));
        self.ledger.record(Fact::Exit(name, Seen::of(outcome)));
        let exiting = self.ledger.unless_over(Fact::Cut(name));
        pause(2).await;
        wait(self.exits_in).await;
        exiting.is_over();
        self.ledger.note(format!("exited {name}"));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            come_at("exit", name, self.exit, &self.ledger, &self.faults)
        }));
        let result = match &ended {
            Ok(Ok(_)) => Seen::Completed,
            Ok(Err(Fault(error))) => Seen::Failed(error),
            Err(payload) => Seen::panicked(&**payload),
        };
        let suppresses = matches!(ended, Ok(Ok(Suppression::Suppress)));
        self.ledger.record(Fact::Exited {
            name,
            result,
            suppresses,
        });
        ended.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

/// Waits for the time. Without a time to wait for, it must not need a timer.
async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The script as a hand-written context.
#[derive(Debug)]
pub struct ByHand<D>(Script, std::marker::PhantomData<D>);

impl<D> ByHand<D> {
    /// Returns a context with this script.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self(script, std::marker::PhantomData)
    }
}

impl AsyncContext for ByHand<()> {
    type Value = &'static str;
    type Error = Fault;
    type Verdict = ();

    async fn enter(&mut self) -> Result<&'static str, Fault> {
        self.0.run_enter().await
    }

    async fn exit(self, _: &'static str, outcome: &Outcome) -> Result<(), Fault> {
        self.0.run_exit(outcome).await.map(|_| ())
    }
}

impl AsyncContext for ByHand<Suppression> {
    type Value = &'static str;
    type Error = Fault;
    type Verdict = Suppression;

    async fn enter(&mut self) -> Result<&'static str, Fault> {
        self.0.run_enter().await
    }

    async fn exit(self, _: &'static str, outcome: &Outcome) -> Result<Suppression, Fault> {
        self.0.run_exit(outcome).await
    }
}

/// The script as a generator.
#[async_context]
pub async fn generated(script: Script) -> Result<&'static str, Fault> {
    let name = script.run_enter().await?;
    let (_, outcome) = yield_!(name);
    script.run_exit(outcome).await.map(|_| ())
}

/// The script as a suppressing generator.
#[async_context(suppress)]
pub async fn generated_suppressing(script: Script) -> Result<&'static str, Fault> {
    let name = script.run_enter().await?;
    let (_, outcome) = yield_!(name);
    script.run_exit(outcome).await
}

/// The script as a generator with a future beside the body.
#[async_context]
pub async fn accompanied(script: Script) -> Result<&'static str, Fault> {
    let name = script.run_enter().await?;
    let (_, outcome) = yield_!(name, script.run_beside());
    script.run_exit(outcome).await.map(|_| ())
}

/// The script as a suppressing generator with a future beside the body.
#[async_context(suppress)]
pub async fn accompanied_suppressing(script: Script) -> Result<&'static str, Fault> {
    let name = script.run_enter().await?;
    let (_, outcome) = yield_!(name, script.run_beside());
    script.run_exit(outcome).await
}

/// The script as a hand-written context with a future beside the body.
#[derive(Debug)]
pub struct AccompaniedByHand(pub Script);

impl AsyncContext for AccompaniedByHand {
    type Value = &'static str;
    type Error = Fault;
    type Verdict = ();

    async fn enter(&mut self) -> Result<&'static str, Fault> {
        self.0.run_enter().await
    }

    async fn beside(&mut self) -> Result<(), Fault> {
        self.0.run_beside().await
    }

    async fn exit(self, _: &'static str, outcome: &Outcome) -> Result<(), Fault> {
        self.0.run_exit(outcome).await.map(|_| ())
    }
}
