//! The laws that every run of every program must keep, whatever goes wrong in it.
//!
//! The laws are checked on the facts of a ledger. A context's name is its path: `a/b` is inside
//! `a`, and no name occurs twice in a program. An error, or a panic, has the name of the place
//! where it occurred.

use std::any::Any;

use async_context_manager::Outcome;
use async_context_manager::report::{self, Report};

use crate::Fault;

/// Something that happened in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Several contexts are used as one, of this kind.
    Group(&'static str, Kind),
    /// The enter of this context begins, alone or as a member of a group.
    Enter {
        /// The path of the context.
        name: &'static str,
        /// The group that the context is a member of.
        of: Option<&'static str>,
    },
    /// Enter has returned a value.
    Entered(&'static str),
    /// Enter has ended without a value.
    NotEntered(&'static str),
    /// The body of this context, or group, has ended. A body that was dropped has no such fact.
    Body(&'static str, Seen),
    /// The body of this context, or group, was dropped.
    Dropped(&'static str),
    /// The future beside the body of this context begins.
    Beside(&'static str),
    /// The future beside the body has ended the body, unless the body had ended before.
    EndedBeside(&'static str, Seen),
    /// The future beside the body has ended, or was dropped.
    NotBeside(&'static str),
    /// Exit begins, and sees this outcome.
    Exit(&'static str, Seen),
    /// Exit has ended.
    Exited {
        /// The path.
        name: &'static str,
        /// How exit ended.
        result: Seen,
        /// `true` if exit returned `Suppress`.
        suppresses: bool,
    },
    /// Exit was dropped half-way.
    Cut(&'static str),
    /// An error occurred.
    Raised(&'static str),
    /// A panic occurred.
    Panicked(&'static str),
    /// The program's own code was told that an exit was cut off.
    ToldOfCut,
    /// The program's own code got this error, or panic, and dealt with it.
    Handled(&'static str),
    /// The program has ended, or is about to be dropped.
    Over,
}

/// The ways in which several contexts can be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An `ExitStack`.
    Stack,
    /// A `Vec`, or an array.
    Sequence,
    /// A `join`, or a `join_all`.
    Together,
}

/// An outcome, or the end of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// `Ok`.
    Completed,
    /// This error.
    Failed(&'static str),
    /// This panic.
    Panicked(&'static str),
    /// The part was dropped.
    Cancelled,
}

impl Seen {
    /// Returns the outcome that an exit sees.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed(error) => match error.downcast_ref() {
                Some(Fault(name)) => Self::Failed(name),
                None => Self::Failed("not a fault"),
            },
            Outcome::Panicked(panic) => Self::Panicked(crate::scene::intern(panic.message())),
            _ => Self::Cancelled,
        }
    }

    /// Returns the panic with this payload.
    #[must_use]
    pub fn panicked(payload: &(dyn Any + Send)) -> Self {
        let name = payload.downcast_ref::<&'static str>();
        Self::Panicked(name.copied().unwrap_or("not a name"))
    }

    /// Returns the end that is seen outside, after an inner exit has ended.
    fn after(self, exit: Self, suppresses: bool) -> Self {
        match (self, exit) {
            (Self::Failed(_), Self::Completed) if suppresses => Self::Completed,
            (Self::Completed, Self::Failed(_))
            | (Self::Completed | Self::Failed(_), Self::Panicked(_)) => exit,
            (seen, _) => seen,
        }
    }
}

/// The laws that a run may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// Each enter that returned a value has exactly one exit, which runs to its end. No other enter
    /// has an exit.
    Once,
    /// An exit begins after the exits of all contexts inside have ended.
    Order,
    /// Exit sees how the body really ended: by itself, or by the future beside it.
    Outcome,
    /// The future beside a body begins once, after enter, and is gone when exit begins.
    Beside,
    /// Each error, and each panic, is either returned, reported, suppressed, or dealt with by the
    /// program: exactly one of these.
    Errors,
    /// No exit is left in the background.
    Left,
}

/// Returns the laws that a run breaks, each with a description.
#[must_use]
pub fn broken_laws<R: AsRef<Report>>(
    facts: &[Fact],
    ended: Seen,
    reports: &[R],
    left: usize,
) -> Vec<(Law, String)> {
    let reports: Vec<&Report> = reports.iter().map(AsRef::as_ref).collect();
    let run = Run {
        facts,
        ended,
        reports,
        broken: Vec::new(),
    };
    run.check(left)
}

struct Run<'r> {
    facts: &'r [Fact],
    ended: Seen,
    reports: Vec<&'r Report>,
    broken: Vec<(Law, String)>,
}

impl Run<'_> {
    fn check(mut self, left: usize) -> Vec<(Law, String)> {
        self.once();
        self.order();
        self.outcome();
        self.beside();
        self.errors();
        if left > 0 {
            self.broken(Law::Left, format!("{left} exits are detached"));
        }
        self.broken
    }

    fn broken(&mut self, law: Law, what: String) {
        self.broken.push((law, what));
    }

    fn count(&self, is_it: impl Fn(&Fact) -> bool) -> usize {
        self.facts.iter().filter(|fact| is_it(fact)).count()
    }

    fn position(&self, is_it: impl Fn(&Fact) -> bool) -> Option<usize> {
        self.facts.iter().position(is_it)
    }

    fn entering(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let entering = self.facts.iter().filter_map(|fact| match fact {
            Fact::Enter { name, of } => Some((*name, *of)),
            _ => None,
        });
        entering.collect()
    }

    fn reported(&self, kind: report::Kind) -> usize {
        self.reports
            .iter()
            .filter(|report| report.kind() == kind)
            .count()
    }

    fn once(&mut self) {
        let (mut not_run, mut cut) = (0, 0);
        for (name, _) in self.entering() {
            let enters =
                self.count(|fact| matches!(fact, Fact::Enter { name: n, .. } if *n == name));
            let entered = self.count(|fact| *fact == Fact::Entered(name));
            let not_entered = self.position(|fact| *fact == Fact::NotEntered(name));
            let exits = self.count(|fact| matches!(fact, Fact::Exit(n, _) if *n == name));
            let exited =
                self.count(|fact| matches!(fact, Fact::Exited { name: n, .. } if *n == name));
            let cuts = self.count(|fact| *fact == Fact::Cut(name));
            if (enters, entered + usize::from(not_entered.is_some())) != (1, 1) {
                self.broken(Law::Once, format!("{name} has no single enter with an end"));
            }
            if name.starts_with("scoped") {
                // A context that borrows cannot go on when it is dropped.
                let is_dropped_in_enter = not_entered.is_some_and(|at| {
                    !matches!(self.facts[at - 1], Fact::Raised(_) | Fact::Panicked(_))
                });
                not_run += usize::from(is_dropped_in_enter || entered > exited);
                continue;
            }
            cut += cuts;
            if (entered, entered) != (exits, exited + cuts) {
                let what =
                    format!("{name}: {entered} entered, {exits} exit, {exited} exited, {cuts} cut");
                self.broken(Law::Once, what);
            }
        }
        // Each cut-off is either returned or reported.
        let told = self.count(|fact| *fact == Fact::ToldOfCut);
        let expected = [
            (report::Kind::NotRun, not_run),
            (report::Kind::TimedOut, cut.saturating_sub(told)),
            (report::Kind::Lost, 0),
        ];
        for (kind, expected) in expected {
            let reported = self.reported(kind);
            if reported != expected {
                self.broken(
                    Law::Once,
                    format!("{reported} are reported as {kind:?}, and not {expected}"),
                );
            }
        }
    }

    fn order(&mut self) {
        for (inner, _) in self.entering() {
            for (outer, _) in self.entering() {
                let path = inner.strip_prefix(outer);
                if !path.is_some_and(|path| path.starts_with('/')) {
                    continue;
                }
                let begin = self
                    .position(|fact| matches!(fact, Fact::Enter { name, .. } if *name == inner));
                if begin < self.position(|fact| *fact == Fact::Entered(outer)) {
                    self.broken(
                        Law::Order,
                        format!("{inner} begins before {outer} is there"),
                    );
                }
                let exit =
                    self.position(|fact| matches!(fact, Fact::Exit(name, _) if *name == outer));
                let end = self.position(|fact| {
                    ended(fact) == Some(inner) || *fact == Fact::NotEntered(inner)
                });
                if exit.is_some_and(|exit| end.is_none_or(|end| end > exit)) {
                    self.broken(Law::Order, format!("{outer} exits before {inner} has"));
                }
            }
        }
    }

    fn outcome(&mut self) {
        for (name, of) in self.entering() {
            let exit = self
                .facts
                .iter()
                .enumerate()
                .find_map(|(at, fact)| match fact {
                    Fact::Exit(n, seen) if *n == name => Some((at, *seen)),
                    _ => None,
                });
            let Some((at, seen)) = exit else { continue };
            let before = &self.facts[..at];
            let expected = match of {
                Some(group) if body(before, name).is_none() => {
                    self.outcomes_in(group, name, before)
                }
                Some(_) | None => outcomes(before, name),
            };
            // Members that had not begun to exit when the caller went away are cancelled.
            let is_over = of.is_some() && before.contains(&Fact::Over);
            let may_be_cancelled = is_over && seen == Seen::Cancelled;
            if !expected.contains(&seen) && !may_be_cancelled {
                let what = format!("the exit of {name} saw {seen:?}, and none of {expected:?}");
                self.broken(Law::Outcome, what);
            }
        }
    }

    fn beside(&mut self) {
        for (name, _) in self.entering() {
            let begun = self.count(|fact| *fact == Fact::Beside(name));
            let gone = self.count(|fact| *fact == Fact::NotBeside(name));
            if begun > 1 || begun != gone {
                let what = format!("beside {name} there were {begun} begins, and {gone} ends");
                self.broken(Law::Beside, what);
            }
            let first = self.position(|fact| *fact == Fact::Beside(name));
            let last = self.position(|fact| *fact == Fact::NotBeside(name));
            let entered = self.position(|fact| *fact == Fact::Entered(name));
            let exit = self.position(|fact| matches!(fact, Fact::Exit(n, _) if *n == name));
            if first.is_some() && (entered > first || exit.is_some_and(|exit| last > Some(exit))) {
                let what = format!("it ran beside {name} when there was no body");
                self.broken(Law::Beside, what);
            }
        }
    }

    /// Returns the outcomes that this member of the group may see when it exits after these facts.
    /// If a member's future beside the body ended it, the members inside that member see a
    /// cancellation, unless they are side by side.
    fn outcomes_in(&self, group: &str, name: &str, before: &[Fact]) -> Vec<Seen> {
        let kind = self.kind_of(group);
        let dropped = before
            .iter()
            .position(|fact| matches!(fact, Fact::Dropped(n) if *n == group));
        let mut outcomes = Vec::new();
        let mut is_ended = false;
        for (at, fact) in before.iter().enumerate() {
            let Fact::EndedBeside(by, seen) = fact else {
                continue;
            };
            if !self.is_member(group, by) {
                continue;
            }
            is_ended |= dropped.is_some_and(|dropped| at < dropped);
            let is_inside_of_it = name != *by && name.starts_with(by);
            if kind == Some(Kind::Together) {
                outcomes.push(*seen);
            } else if is_inside_of_it {
                outcomes.push(Seen::Cancelled);
            } else {
                let until = |inner: &str| inner != *by && inner.starts_with(by);
                outcomes.push(self.after_exits(group, *seen, before, until));
            }
        }
        if !is_ended {
            outcomes.push(self.outcome_in(group, before));
        }
        outcomes
    }

    fn kind_of(&self, group: &str) -> Option<Kind> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::Group(name, kind) if *name == group => Some(*kind),
            _ => None,
        })
    }

    fn is_member(&self, group: &str, name: &str) -> bool {
        let (name, group) = (crate::scene::intern(name), crate::scene::intern(group));
        self.entering().contains(&(name, Some(group)))
    }

    /// Returns the outcome that the next member of the group to exit must see after these facts.
    fn outcome_in(&self, group: &str, before: &[Fact]) -> Seen {
        let kind = self.kind_of(group);
        let is_member = |name: &str| self.is_member(group, name);
        let entered_badly = || {
            // The body of a stack must deal with an enter that fails.
            if kind == Some(Kind::Stack) {
                return None;
            }
            let places = before.iter().filter_map(|fact| match fact {
                Fact::Raised(place) => Some((*place, Seen::Failed(place))),
                Fact::Panicked(place) => Some((*place, Seen::Panicked(place))),
                _ => None,
            });
            let ended =
                places.filter(|(place, _)| place.strip_prefix("enter ").is_some_and(is_member));
            let ended: Vec<Seen> = ended.map(|(_, seen)| seen).collect();
            let panic = ended.iter().find(|seen| matches!(seen, Seen::Panicked(_)));
            panic.or(ended.first()).copied()
        };
        let seen = body(before, group)
            .or_else(entered_badly)
            .unwrap_or(Seen::Cancelled);
        if kind == Some(Kind::Together) {
            return seen;
        }
        self.after_exits(group, seen, before, |_| false)
    }

    /// Returns the end that is seen after the exits of the members so far, without the members that
    /// are left out.
    fn after_exits(
        &self,
        group: &str,
        mut seen: Seen,
        before: &[Fact],
        is_left_out: impl Fn(&str) -> bool,
    ) -> Seen {
        let is_stack = self.kind_of(group) == Some(Kind::Stack);
        for fact in before {
            let Fact::Exited {
                name,
                result,
                suppresses,
            } = fact
            else {
                continue;
            };
            let counts = self.is_member(group, name) && body(before, name).is_none();
            if counts && !is_left_out(name) {
                seen = seen.after(*result, *suppresses && is_stack);
            }
        }
        seen
    }

    fn errors(&mut self) {
        let known = self.facts.iter().filter_map(|fact| match fact {
            Fact::Raised(place) | Fact::Panicked(place) => Some(*place),
            _ => None,
        });
        let known: Vec<_> = known.collect();
        for place in &known {
            let raised = known.iter().filter(|known| *known == place).count();
            let ends = self.places().iter().filter(|known| *known == place).count();
            if (raised, ends) != (1, 1) {
                self.broken(
                    Law::Errors,
                    format!("what came up at `{place}` went to {ends} places"),
                );
            }
        }
        for place in self.places() {
            if !known.contains(&place) {
                self.broken(Law::Errors, format!("`{place}` has never come up"));
            }
        }
    }

    /// Returns where errors and panics went.
    fn places(&self) -> Vec<&'static str> {
        let mut places = Vec::new();
        if let Seen::Failed(place) | Seen::Panicked(place) = self.ended {
            places.push(place);
        }
        for report in &self.reports {
            if let Some(error) = report.error() {
                let fault = error.downcast_ref();
                places.push(fault.map_or("not a fault", |Fault(name)| name));
            }
            if let Some(panic) = report.panic() {
                places.push(crate::scene::intern(panic.message()));
            }
        }
        for (at, fact) in self.facts.iter().enumerate() {
            match fact {
                Fact::Handled(place) => places.push(place),
                Fact::Exited {
                    name,
                    suppresses: true,
                    ..
                } => {
                    let exit = self.facts[..at].iter().find_map(|fact| match fact {
                        Fact::Exit(n, Seen::Failed(place)) if n == name => Some(*place),
                        _ => None,
                    });
                    places.extend(exit);
                }
                _ => {}
            }
        }
        places
    }
}

/// Returns the context whose exit this fact ends.
fn ended(fact: &Fact) -> Option<&'static str> {
    match fact {
        Fact::Exited { name, .. } | Fact::Cut(name) => Some(name),
        _ => None,
    }
}

fn body(facts: &[Fact], label: &str) -> Option<Seen> {
    facts.iter().find_map(|fact| match fact {
        Fact::Body(name, seen) if *name == label => Some(*seen),
        _ => None,
    })
}

/// Returns the outcomes that the exit of this context may see after these facts.
///
/// If the future beside the body ended it, the body was dropped. The exception is code that holds a
/// guard: such code ends its body itself, and the end that came first counts. An end at the same
/// time in another thread may come before or after.
fn outcomes(facts: &[Fact], label: &str) -> Vec<Seen> {
    let position = |is_it: &dyn Fn(&Fact) -> bool| facts.iter().position(is_it);
    let ended = facts.iter().enumerate().find_map(|(at, fact)| match fact {
        Fact::EndedBeside(name, seen) if *name == label => Some((at, *seen)),
        _ => None,
    });
    let dropped = position(&|fact| matches!(fact, Fact::Dropped(name) if *name == label));
    let own = position(&|fact| matches!(fact, Fact::Body(name, _) if *name == label));
    match (body(facts, label), ended) {
        // In another thread, the future may fail between the two facts of the body's end: the
        // record of the body, and the call that ends it. Then two facts follow the record.
        (Some(seen), Some((at, end))) if own.is_some_and(|own| at <= own + 2) => vec![seen, end],
        (Some(seen), _) => vec![seen],
        (None, Some((at, end))) if dropped.is_some_and(|dropped| at < dropped) => vec![end],
        (None, _) => vec![Seen::Cancelled],
    }
}
