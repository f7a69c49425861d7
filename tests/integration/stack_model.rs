//! Random programs on stacks, dropped at random points, against a model of hand nesting.
//!
//! The model is a list of entries and the table body × exit. It predicts every line that a program
//! writes, its result, and its reports. What runs detached beside other code (a taken stack that a
//! body leaves behind) is a *group* of lines of its own: in order, and over before the stack around it
//! exits.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::LazyLock;
use std::task::Poll;

use async_context_manager::{detached, prelude::*};
use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use tests::{
    ByHand, End, Fault, Ledger, Script, Stage, generated, generated_suppressing, pause, poll_times,
};
use tokio::runtime::{Builder, Runtime};

/// A stack, and what its body does.
#[derive(Debug, Clone)]
struct Program {
    /// Of its error, or panic.
    name: &'static str,
    form: Form,
    parts: Vec<Part>,
    end: Fate,
    /// What was taken and not given back is put back at the end, and not left to drop.
    puts_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `ExitStack::suppressing_scope`.
    Scope,
    /// `exit`.
    Exit,
    /// `try_exit`.
    TryExit,
}

/// What happens while leases may be out, and then something for which they have to be back.
#[derive(Debug, Clone)]
struct Part {
    name: &'static str,
    steps: Vec<Step>,
    then: Then,
}

#[derive(Debug, Clone)]
struct Step {
    name: &'static str,
    does: Does,
    /// The body goes on when it fails.
    caught: bool,
}

#[derive(Debug, Clone)]
enum Does {
    Enter {
        kind: Kind,
        enter: Fate,
        exit: Fate,
    },
    Adopt(Fate),
    Defer(Fate),
    Keep,
    /// Of the lease with this number, counted around.
    Release(usize),
    Nest(Box<Program>),
    Pause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Generated,
    ByHand,
    GeneratedSuppressing,
    ByHandSuppressing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Take,
    Extend,
    ExitTaken,
}

/// How something ends, under its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ok,
    Suppress,
    Fail,
    Panic,
}

impl Fate {
    fn end(self, name: &'static str) -> End {
        match self {
            Self::Ok => End::Ok,
            Self::Suppress => End::Suppress,
            Self::Fail => End::Fail(name),
            Self::Panic => End::Panic(name),
        }
    }
}

// The programs.

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![6 => Just(Fate::Ok), 2 => Just(Fate::Fail), 1 => Just(Fate::Panic)]
}

fn exit_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![2 => fate(), 1 => Just(Fate::Suppress)]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Generated),
        Just(Kind::ByHand),
        Just(Kind::GeneratedSuppressing),
        Just(Kind::ByHandSuppressing),
    ]
}

fn step(depth: u32) -> BoxedStrategy<Step> {
    let enter_fate =
        prop_oneof![8 => Just(Fate::Ok), 1 => Just(Fate::Fail), 1 => Just(Fate::Panic)];
    let enter = (kind(), enter_fate, exit_fate());
    let does = prop_oneof![
        6 => enter.prop_map(|(kind, enter, exit)| Does::Enter { kind, enter, exit }),
        2 => fate().prop_map(Does::Adopt),
        2 => fate().prop_map(Does::Defer),
        2 => Just(Does::Keep),
        3 => (0..8_usize).prop_map(Does::Release),
        1 => Just(Does::Pause),
    ];
    let does = if depth == 0 {
        does.boxed()
    } else {
        let nested = program(depth - 1).prop_map(|inner| Does::Nest(Box::new(inner)));
        prop_oneof![8 => does, 1 => nested].boxed()
    };
    let step = (does, any::<bool>()).prop_map(|(does, caught)| Step {
        name: "",
        does,
        caught,
    });
    step.boxed()
}

fn program(depth: u32) -> BoxedStrategy<Program> {
    let then = prop_oneof![Just(Then::Take), Just(Then::Extend), Just(Then::ExitTaken)];
    let part = (prop::collection::vec(step(depth), 0..5), then).prop_map(|(steps, then)| Part {
        name: "",
        steps,
        then,
    });
    let form = prop_oneof![Just(Form::Scope), Just(Form::Exit), Just(Form::TryExit)];
    let parts = prop::collection::vec(part, 1..4);
    let program =
        (form, parts, fate(), any::<bool>()).prop_map(|(form, parts, end, puts_back)| Program {
            name: "",
            form,
            parts,
            end,
            puts_back,
        });
    program.boxed()
}

static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..500).map(|number| format!("c{number}")).collect());

/// Gives each part of the program a name of its own.
fn name_all(program: &mut Program, next: &mut usize) {
    fn name(next: &mut usize) -> &'static str {
        *next += 1;
        &NAMES[*next]
    }

    program.name = name(next);
    for part in &mut program.parts {
        part.name = name(next);
        for step in &mut part.steps {
            step.name = name(next);
            if let Does::Nest(inner) = &mut step.does {
                name_all(inner, next);
            }
        }
    }
}

// What really happens.

type Stack = ExitStack<Fault, Suppression>;

fn play<'p>(program: &'p Program, ledger: &'p Ledger) -> BoxFuture<'p, Result<Option<()>, Fault>> {
    let body = async move |stack: &mut Stack| {
        let body = AssertUnwindSafe(play_body(program, ledger, stack));
        let ended = body.catch_unwind().await;
        ledger.note(end_line(program.name));
        ended.unwrap_or_else(|payload| resume_unwind(payload))
    };
    let played = async move {
        if program.form == Form::Scope {
            return Stack::suppressing_scope(body).await;
        }
        let mut stack = Stack::suppressing();
        let result = body(&mut stack).await;
        if program.form == Form::Exit {
            return stack.exit(result).await;
        }
        stack.try_exit(result).await.map_err(|failure| {
            let errors: Vec<_> = failure.errors().map(|error| error.0).collect();
            ledger.note(all_errors(&errors));
            Fault(errors[0])
        })
    };
    played.boxed()
}

async fn play_body(program: &Program, ledger: &Ledger, stack: &mut Stack) -> Result<(), Fault> {
    let mut taken = None;
    for part in &program.parts {
        play_steps(&part.steps, ledger, stack).await?;
        match part.then {
            Then::Take if taken.is_none() => taken = Some(stack.take()),
            Then::Take => {}
            Then::Extend => {
                if let Some(taken) = taken.take() {
                    stack.extend(taken);
                }
            }
            Then::ExitTaken => {
                if let Some(taken) = taken.take() {
                    ledger.note(format!("exit what {} took", part.name));
                    taken.exit(Ok(())).await?;
                }
            }
        }
    }
    if let Some(taken) = taken.take_if(|_| program.puts_back) {
        stack.extend(taken);
    }
    program.end.end(program.name).come().map(|_| ())
}

async fn play_steps(steps: &[Step], ledger: &Ledger, stack: &Stack) -> Result<(), Fault> {
    let mut leases = Vec::new();
    for Step { name, does, caught } in steps {
        let name = *name;
        let script = |exit: Fate| Script::new(name, ledger).exit(exit.end(name));
        let done = match does {
            Does::Enter { kind, enter, exit } => {
                let script = script(*exit).enter(enter.end(name));
                let entered = match kind {
                    Kind::Generated => stack.enter(generated(script)).await,
                    Kind::ByHand => stack.enter(ByHand::<()>::new(script)).await,
                    Kind::GeneratedSuppressing => stack.enter(generated_suppressing(script)).await,
                    Kind::ByHandSuppressing => {
                        stack.enter(ByHand::<Suppression>::new(script)).await
                    }
                };
                entered.map(|lease| leases.push(lease))
            }
            Does::Adopt(exit) => {
                let context = ByHand::<()>::new(script(*exit));
                let close = async move |value: &'static str, outcome: &Outcome| {
                    context.exit(value, outcome).await
                };
                leases.push(stack.adopt(name, close));
                Ok(())
            }
            Does::Defer(exit) => {
                let context = ByHand::<()>::new(script(*exit));
                stack.defer(async move |outcome: &Outcome| context.exit(name, outcome).await);
                Ok(())
            }
            Does::Keep => {
                stack.keep(ledger.on_drop(name));
                Ok(())
            }
            Does::Release(_) if leases.is_empty() => Ok(()),
            Does::Release(number) => {
                let lease = leases.remove(number % leases.len());
                ledger.note(end_line(*lease));
                lease.release().await
            }
            Does::Nest(inner) => play(inner, ledger).await.map(|_| ()),
            Does::Pause => {
                ledger.note(format!("pause {name}"));
                pause(2).await;
                Ok(())
            }
        };
        if !caught {
            done?;
        }
    }
    Ok(())
}

/// What comes before exits: they may have to wait before the first begins.
fn end_line(name: &str) -> String {
    format!("end of {name}")
}

fn all_errors(errors: &[&str]) -> String {
    format!("all errors: {}", errors.join(" "))
}

// What should happen.

#[derive(Debug, Default)]
struct Model {
    /// Each line with its group; the main one is 0.
    lines: Vec<(usize, String)>,
    groups: usize,
    /// A group that is over before this entry exits.
    waits: Vec<(usize, &'static str)>,
    reports: Vec<String>,
    /// The program is dropped at its first await after so many lines of the main group.
    cut: Option<usize>,
    dropped: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: &'static str,
    does: Closing,
}

/// The stacks of one body.
#[derive(Debug, Default)]
struct Level {
    stack: Vec<Entry>,
    taken: Option<Vec<Entry>>,
}

#[derive(Debug, Clone, Copy)]
enum Closing {
    Exits(Fate),
    Drops,
}

/// How a body, or a step of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Done { suppressed: bool },
    Failed(&'static str),
    Panicked(&'static str),
    Dropped,
}

const DONE: Flow = Flow::Done { suppressed: false };

fn fault(name: &str) -> String {
    format!("Fault({name:?})")
}

impl Model {
    fn line(&mut self, group: usize, line: String) {
        self.lines.push((group, line));
    }

    /// The program awaits something. Is it dropped here?
    fn is_dropped_here(&mut self) -> bool {
        let main = self.lines.iter().filter(|(group, _)| *group == 0).count();
        let here = !self.dropped && self.cut == Some(main);
        self.dropped |= here;
        here
    }

    fn program(&mut self, program: &Program) -> Flow {
        let mut level = Level::default();
        let flow = self.body(program, &mut level);
        if flow != Flow::Dropped {
            self.line(0, end_line(program.name));
        }
        if let Some(taken) = level.taken {
            self.background(taken);
        }
        if program.form != Form::Scope && matches!(flow, Flow::Panicked(_)) {
            // Nobody catches it on the way to `exit`.
            self.background(level.stack);
            return flow;
        }
        self.unwind(level.stack, flow, program.form, 0)
    }

    fn body(&mut self, program: &Program, level: &mut Level) -> Flow {
        for part in &program.parts {
            let flow = self.steps(&part.steps, level);
            if flow != DONE {
                return flow;
            }
            match part.then {
                Then::Take if level.taken.is_none() => level.taken = Some(level.stack.split_off(0)),
                Then::Take => {}
                Then::Extend => level.stack.extend(level.taken.take().unwrap_or_default()),
                Then::ExitTaken => {
                    let Some(taken) = level.taken.take() else {
                        continue;
                    };
                    self.line(0, format!("exit what {} took", part.name));
                    // Where the program is dropped, what is left runs beside the rest.
                    self.groups += 1;
                    let flow = self.unwind(taken, DONE, Form::Exit, self.groups);
                    if !matches!(flow, Flow::Done { .. }) {
                        return flow;
                    }
                }
            }
        }
        if program.puts_back {
            level.stack.extend(level.taken.take().unwrap_or_default());
        }
        match program.end {
            Fate::Ok | Fate::Suppress => DONE,
            Fate::Fail => Flow::Failed(program.name),
            Fate::Panic => Flow::Panicked(program.name),
        }
    }

    fn steps(&mut self, steps: &[Step], level: &mut Level) -> Flow {
        let mut leases = Vec::new();
        for Step { name, does, caught } in steps {
            let name = *name;
            let entry = |exit: Fate| Entry {
                name,
                does: Closing::Exits(exit),
            };
            let flow = match does {
                Does::Enter { kind, enter, exit } => {
                    let suppressing =
                        matches!(kind, Kind::GeneratedSuppressing | Kind::ByHandSuppressing);
                    let exit = match exit {
                        Fate::Suppress if !suppressing => Fate::Ok,
                        exit => *exit,
                    };
                    let flow = self.enter(name, *enter, exit);
                    if flow == DONE {
                        level.stack.push(entry(exit));
                        leases.push(name);
                    }
                    flow
                }
                Does::Adopt(exit) => {
                    level.stack.push(entry(*exit));
                    leases.push(name);
                    DONE
                }
                Does::Defer(exit) => {
                    level.stack.push(entry(*exit));
                    DONE
                }
                Does::Keep => {
                    level.stack.push(Entry {
                        name,
                        does: Closing::Drops,
                    });
                    DONE
                }
                Does::Release(_) if leases.is_empty() => DONE,
                Does::Release(number) => {
                    let released = leases.remove(number % leases.len());
                    let index = level.stack.iter().position(|entry| entry.name == released);
                    let entry = level.stack.remove(index.expect("a lease is of an entry"));
                    self.line(0, end_line(released));
                    // Alone on a stack: where the program is dropped, all others wait for it.
                    self.unwind(vec![entry], DONE, Form::Exit, 0)
                }
                Does::Nest(inner) => {
                    let groups = self.groups;
                    let flow = self.program(inner);
                    // All that was entered before waits for what is left of the inside.
                    let inside = groups + 1..=self.groups;
                    let outside = level.stack.iter().chain(level.taken.iter().flatten());
                    let names = outside.map(|entry| entry.name);
                    self.waits
                        .extend(names.flat_map(|name| inside.clone().map(move |g| (g, name))));
                    flow
                }
                Does::Pause => {
                    self.line(0, format!("pause {name}"));
                    if self.is_dropped_here() {
                        Flow::Dropped
                    } else {
                        DONE
                    }
                }
            };
            match flow {
                Flow::Done { .. } => {}
                Flow::Failed(_) if *caught => {}
                flow => return flow,
            }
        }
        DONE
    }

    fn enter(&mut self, name: &'static str, enter: Fate, exit: Fate) -> Flow {
        self.line(0, format!("enter {name}"));
        let dropped = self.is_dropped_here();
        let flow = match enter {
            Fate::Ok | Fate::Suppress => {
                self.line(0, format!("entered {name}"));
                DONE
            }
            Fate::Fail => Flow::Failed(name),
            Fate::Panic => Flow::Panicked(name),
        };
        if !dropped {
            return flow;
        }
        match flow {
            Flow::Failed(_) => self.reports.push(fault(name)),
            Flow::Panicked(_) => self.reports.push(name.to_owned()),
            _ => {
                let does = Closing::Exits(exit);
                self.unwind(vec![Entry { name, does }], Flow::Dropped, Form::Exit, 0);
            }
        }
        Flow::Dropped
    }

    /// A stack that is dropped while other code goes on.
    fn background(&mut self, stack: Vec<Entry>) {
        self.groups += 1;
        let group = self.groups;
        let dropped = std::mem::replace(&mut self.dropped, true);
        let from = self.lines.len();
        self.unwind(stack, Flow::Dropped, Form::Exit, group);
        for (its, _) in &mut self.lines[from..] {
            *its = group;
        }
        self.dropped = dropped;
    }

    /// Exits all entries as if each had been nested in those before it. What runs after a drop in
    /// here is in the group `left`.
    fn unwind(&mut self, stack: Vec<Entry>, body: Flow, form: Form, left: usize) -> Flow {
        let mut unwinding = Unwinding::new(body);
        let mut group = 0;
        // It may have to wait for what is left of the inside.
        if self.is_dropped_here() {
            group = left;
        }
        for Entry { name, does } in stack.into_iter().rev() {
            let Closing::Exits(fate) = does else {
                self.line(group, name.to_owned());
                self.give_up(&mut unwinding);
                continue;
            };
            self.line(group, exit_line(name, unwinding.outcome));
            if self.is_dropped_here() {
                group = left;
            }
            self.line(group, format!("exited {name}"));
            self.reports.extend(unwinding.exited(name, fate));
            self.give_up(&mut unwinding);
        }
        if self.dropped {
            self.give_up(&mut unwinding);
            return Flow::Dropped;
        }
        let mut errors = unwinding.errors;
        errors.splice(0..0, unwinding.body_error);
        if let Flow::Panicked(_) = unwinding.outcome {
            self.reports.extend(errors.into_iter().map(fault));
            return unwinding.outcome;
        }
        let Some(first) = errors.first().copied() else {
            let suppressed = unwinding.suppressed;
            return Flow::Done { suppressed };
        };
        if form == Form::TryExit {
            self.line(0, all_errors(&errors));
        } else {
            self.reports.extend(errors.into_iter().skip(1).map(fault));
        }
        Flow::Failed(first)
    }
}

impl Model {
    /// Once the program is dropped, the exit that runs goes on as it had begun. The others are those of
    /// bodies that were dropped, and what went wrong before has nobody to go to.
    fn give_up(&mut self, unwinding: &mut Unwinding) {
        if !self.dropped {
            return;
        }
        let errors = std::mem::take(&mut unwinding.errors);
        let errors = unwinding.body_error.take().into_iter().chain(errors);
        self.reports.extend(errors.map(fault));
        if let Flow::Panicked(name) = unwinding.outcome {
            self.reports.push(name.to_owned());
        }
        unwinding.outcome = Flow::Dropped;
    }
}

/// The table body × exit, once for each entry.
#[derive(Debug)]
struct Unwinding {
    /// What the next exit sees.
    outcome: Flow,
    /// What goes to the caller: the body's error, and those of exits since the last suppression.
    body_error: Option<&'static str>,
    errors: Vec<&'static str>,
    suppressed: bool,
}

impl Unwinding {
    fn new(body: Flow) -> Self {
        Self {
            outcome: body,
            body_error: match body {
                Flow::Failed(name) => Some(name),
                _ => None,
            },
            errors: Vec::new(),
            suppressed: false,
        }
    }

    /// An exit has ended; gives what has to be reported.
    fn exited(&mut self, name: &'static str, fate: Fate) -> Vec<String> {
        let mut reports = Vec::new();
        match (fate, self.outcome) {
            (Fate::Suppress, Flow::Failed(_)) => {
                let primary = usize::from(self.body_error.take().is_none());
                reports.extend(self.errors.drain(..).skip(primary).map(fault));
                self.outcome = DONE;
                self.suppressed = true;
            }
            (Fate::Ok | Fate::Suppress, _) => {}
            (Fate::Fail, Flow::Done { .. }) => {
                self.errors.push(name);
                self.outcome = Flow::Failed(name);
            }
            (Fate::Fail, Flow::Failed(_)) => self.errors.push(name),
            (Fate::Fail, _) => reports.push(fault(name)),
            (Fate::Panic, Flow::Done { .. } | Flow::Failed(_)) => {
                self.outcome = Flow::Panicked(name);
            }
            (Fate::Panic, _) => reports.push(name.to_owned()),
        }
        reports
    }
}

fn exit_line(name: &str, outcome: Flow) -> String {
    match outcome {
        Flow::Done { .. } => format!("exit {name}: completed"),
        Flow::Failed(by) => format!("exit {name}: failed({})", fault(by)),
        Flow::Panicked(by) => format!("exit {name}: panicked({by})"),
        Flow::Dropped => format!("exit {name}: cancelled"),
    }
}

// The comparison.

/// What a run gave: how it ended (`None` for one that was dropped), and the lines when it did.
async fn run(program: &Program, polls: usize, ledger: &Ledger) -> (Option<Flow>, Vec<String>) {
    let mut future = AssertUnwindSafe(play(program, ledger)).catch_unwind();
    for _ in 0..polls {
        if let Poll::Ready(ended) = poll_fn(|cx| Poll::Ready(future.poll_unpin(cx))).await {
            let flow = match ended {
                Ok(Ok(value)) => Flow::Done {
                    suppressed: value.is_none(),
                },
                Ok(Err(Fault(name))) => Flow::Failed(name),
                Err(payload) => Flow::Panicked(payload.downcast_ref::<&str>().expect("our own")),
            };
            return (Some(flow), ledger.lines());
        }
        pause(1).await;
    }
    (None, ledger.lines())
}

fn compare(
    runtime: &Runtime,
    stage: &Stage,
    program: &Program,
    polls: usize,
) -> Result<(), TestCaseError> {
    let ledger = Ledger::default();
    let _ = stage.reports();
    let (ended, at_the_end) = runtime.block_on(async {
        let ran = run(program, polls, &ledger).await;
        detached::drain().await;
        ran
    });
    let mut model = Model::default();
    let flow = model.program(program);
    match ended {
        Some(ended) => prop_assert_eq!(ended, flow, "{}", ledger.text()),
        // Before its first poll, nothing has begun.
        None if at_the_end.is_empty() && polls == 0 => model = Model::default(),
        None => {
            let beside = |line: &String| model.lines.iter().any(|(g, l)| *g > 0 && l == line);
            let cut = at_the_end.iter().filter(|line| !beside(line)).count();
            model = Model {
                cut: Some(cut),
                ..Model::default()
            };
            prop_assert_eq!(model.program(program), Flow::Dropped);
        }
    }

    let lines = ledger.lines();
    let text = lines.join(", ");
    for group in 0..=model.groups {
        let its: BTreeSet<_> = model.lines.iter().filter(|(g, _)| *g == group).collect();
        let of_group = |line: &&String| its.iter().any(|(_, its)| its == *line);
        let really: Vec<_> = lines.iter().filter(of_group).collect();
        let expected: Vec<_> = model.lines.iter().filter(|(g, _)| *g == group).collect();
        let expected: Vec<_> = expected.into_iter().map(|(_, line)| line).collect();
        prop_assert_eq!(really, expected, "group {} in {}", group, text);
    }
    prop_assert_eq!(lines.len(), model.lines.len(), "in {}", text);
    for (group, outer) in &model.waits {
        let its = |line: &String| model.lines.iter().any(|(g, l)| g == group && l == line);
        let exits = |line: &String| line == outer || line.starts_with(&format!("exit {outer}:"));
        let last = lines.iter().rposition(its);
        let first = lines.iter().position(exits);
        prop_assert!(
            last.is_none() || last < first,
            "the exit of {}: {}",
            outer,
            text
        );
    }
    let mut reports: Vec<_> = stage.reports().into_iter().map(|(_, what)| what).collect();
    reports.sort();
    model.reports.sort();
    prop_assert_eq!(reports, model.reports, "reports after {}", text);
    Ok(())
}

fn check(runtime: &Runtime, cases: u32) {
    let stage = Stage::alone();
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let programs = program(2).prop_map(|mut program| {
        name_all(&mut program, &mut 0);
        program
    });
    // A third of the programs end by themselves.
    let polls = prop_oneof![2 => 0..80_usize, 1 => Just(usize::MAX)];
    let checked = TestRunner::new_with_rng(config, rng)
        .run(&(programs, polls), |(program, polls)| {
            compare(runtime, &stage, &program, polls)
        });
    let _ = stage.reports();
    match checked {
        Ok(()) => {}
        Err(TestError::Fail(reason, (program, polls))) => {
            panic!("{reason}\nin {program:?}, dropped after {polls} polls")
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn a_stack_does_what_nesting_by_hand_does_whatever_is_entered_fails_or_is_dropped() {
    let runtime = Builder::new_current_thread().enable_all().build();
    check(&runtime.expect("the system has a runtime for us"), 1500);
}

#[test]
fn a_stack_does_what_nesting_by_hand_does_when_other_threads_finish_its_exits() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    check(&runtime.expect("the system has a runtime for us"), 200);
}

#[test]
fn a_release_waits_for_the_exits_of_what_was_entered_inside() {
    tests::everywhere(async |_| {
        let ledger = Ledger::default();
        let stack = ExitStack::<Fault>::new();
        let outer = generated(Script::new("outer", &ledger));
        let lease = stack.enter(outer).await.expect("it opens");
        let inner = generated(Script::new("inner", &ledger));
        let inner = inner.with(async |_| std::future::pending::<Result<(), Fault>>().await);
        assert_eq!(poll_times(inner, 4).await, None);
        assert_eq!(lease.release().await, Ok(()));
        detached::drain().await;
        ledger.check_nesting();
        assert_eq!(stack.exit(Ok(())).await, Ok(()));
    });
}

#[test]
fn an_error_that_was_suppressed_is_not_reported_when_a_later_exit_is_detached() {
    tests::everywhere(async |stage| {
        let ledger = Ledger::default();
        let script = |name| Script::new(name, &ledger);
        let scope = ExitStack::<Fault, _>::suppressing_scope(async |stack| {
            drop(stack.enter(generated(script("outer"))).await?);
            let suppressor = script("suppressor").exit(End::Suppress);
            drop(stack.enter(generated_suppressing(suppressor)).await?);
            End::Fail("body").come().map(|_| ())
        });
        let mut scope = Box::pin(scope);
        while !ledger.has("exit outer: completed") {
            assert!(scope.as_mut().now_or_never().is_none());
        }
        drop(scope);
        detached::drain().await;
        assert!(ledger.has("exited outer"));
        assert_eq!(stage.reports(), []);
    });
}
