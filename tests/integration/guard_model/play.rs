//! Runs the programs on the real crate.

use std::any::Any;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_context_manager::{Lease, TimeoutError, prelude::*};
use futures::channel::oneshot;
use futures::future::BoxFuture;

use super::log::{Code, Heed, Id, Kind, Log, Shared};
use super::program::{Arm, Beside, Block, Body, Cut, Fate, Name, Op, Random, Spec, StackEnd, Step};
use super::world::{Task, pass, spawn};

type Boxed = BoxContext<u32, Fault>;
type Stack = ExitStack<Fault>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

/// The kind of runtime on which a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// On one thread, in paused time.
    Paused,
    /// On two workers.
    Workers,
    /// On no runtime: the background is the crate's own thread.
    NoRuntime,
}

/// One run of one program.
pub(super) struct Run {
    pub(super) mode: Mode,
    shared: Mutex<Shared>,
    tasks: Mutex<Vec<Task>>,
}

/// The place of running code: the context whose code it is, and the code that polls it.
#[derive(Debug, Clone, Copy)]
struct Frame {
    home: Option<Id>,
    code: Code,
}

impl Run {
    pub(super) fn new(mode: Mode, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            mode,
            shared: Mutex::new(Shared {
                log: Log::default(),
                random: Random(seed),
            }),
            tasks: Mutex::default(),
        })
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log<T>(&self, look: impl FnOnce(&mut Log) -> T) -> T {
        look(&mut self.shared().log)
    }

    pub(super) async fn play(self: Arc<Self>, program: Block) {
        let code = Code::Task(0);
        let held = Held::new(&self, code);
        let block = self.block(&program, Frame { home: None, code }, &held);
        self.absorb(block).await;
        held.drop_all();
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_tasks(&self) -> Vec<Task> {
        mem::take(&mut *self.tasks())
    }

    /// Takes a while, so that other code has a turn.
    pub(super) async fn nap(&self, length: u32) {
        let length = 1 + self.shared().random.below(length);
        pass(self.mode, length).await;
    }

    /// Drops the future after the polls of the cut, unless it has ended.
    async fn until<F: Future + Unpin>(&self, mut future: F, cut: Cut) -> Option<F::Output> {
        let Some(polls) = cut else {
            return Some(future.await);
        };
        for _ in 0..polls {
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx)));
            if let Poll::Ready(output) = polled.await {
                return Some(output);
            }
            self.nap(2).await;
        }
        None
    }

    fn raise(&self, what: &str) -> Fault {
        Fault(self.log(|log| log.raise(what)))
    }

    fn come(&self, fate: Fate, what: &str) -> Result<(), Fault> {
        match fate {
            Fate::Ok => Ok(()),
            Fate::Fail => Err(self.raise(&format!("error of {what}"))),
            // Not `panic!`, whose message would fill the tests' output.
            Fate::Panic => resume_unwind(Box::new(self.raise(&format!("panic of {what}")).0)),
        }
    }

    fn returned(&self, what: String) {
        self.log(|log| {
            log.note(format!("returned: {what}"));
            log.returned.push(what);
        });
    }

    /// Records that the caller has received the future's error or panic.
    async fn absorb(&self, future: impl Future<Output = Result<(), Fault>>) {
        match caught(future).await {
            Ok(Ok(())) => {}
            Ok(Err(Fault(error))) => self.returned(error),
            Err(payload) => self.returned(message(&*payload)),
        }
    }

    fn block<'a>(
        self: &'a Arc<Self>,
        block: &'a Block,
        frame: Frame,
        held: &'a Arc<Held>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let mut local = Local {
                run: Arc::clone(self),
                armed: block.has_local,
            };
            for op in &block.ops {
                let op = self.op(op, frame, held);
                if !block.strict {
                    self.absorb(op).await;
                } else if let Err(error) = op.await {
                    local.armed = false;
                    return Err(error);
                }
            }
            Ok(())
        })
    }

    fn op<'a>(
        self: &'a Arc<Self>,
        op: &'a Op,
        frame: Frame,
        held: &'a Arc<Held>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        self.log(|log| log.ops += 1);
        match op {
            Op::Open(name, spec, cut) => Box::pin(self.open(*name, spec, *cut, frame, held)),
            Op::With(name, spec, body, cut) => {
                Box::pin(self.with(*name, spec, body, *cut, frame, held))
            }
            Op::Drop(name) => {
                if let Some(thing) = held.take(*name) {
                    thing.give_up(self, frame.code);
                }
                Box::pin(async { Ok(()) })
            }
            Op::Close(name, fate, cut) => match held.take(*name) {
                Some(thing) => Box::pin(self.close(thing, *fate, *cut, frame.code)),
                None => Box::pin(async { Ok(()) }),
            },
            Op::Task(arm, joined) => Box::pin(self.task(arm, *joined, frame, held)),
            Op::Join([first, second]) => {
                let first = self.arm(first, frame, held);
                let second = self.arm(second, frame, held);
                Box::pin(async {
                    futures::join!(first, second);
                    Ok(())
                })
            }
            Op::Give(given, to) => {
                held.give(*given, *to);
                Box::pin(async { Ok(()) })
            }
            Op::CloseAll => Box::pin(async move {
                while let Some(thing) = held.pop() {
                    self.close(thing, Fate::Ok, None, frame.code).await?;
                }
                Ok(())
            }),
            Op::Run(name, block, cut) => match held.take(*name) {
                Some(thing) => Box::pin(self.part(*name, thing, block, *cut, frame, held)),
                None => Box::pin(async { Ok(()) }),
            },
            Op::Stack(name, steps, end) => Box::pin(self.stack(*name, steps, *end, frame, held)),
            Op::Sleep(length) => Box::pin(async {
                self.nap(*length).await;
                Ok(())
            }),
        }
    }

    fn context(
        self: &Arc<Self>,
        name: Name,
        kind: Kind,
        spec: &Spec,
        frame: Frame,
        held: &Held,
    ) -> (Id, Boxed, Arc<Held>) {
        let id = self.log(|log| log.add(name, kind, frame.home, frame.code));
        let its = Held::new(self, Code::Of(id));
        for owned in &spec.owns {
            if let Some(thing) = held.take(*owned) {
                its.put(*owned, thing);
            }
        }
        let scripted = Scripted {
            run: Arc::clone(self),
            id,
            name,
            spec: spec.clone(),
            held: Arc::clone(&its),
        };
        let mut context = match spec.limit {
            Some(limit) => scripted
                .exit_timeout(Duration::from_millis(limit.into()))
                .map_err(move |error| match error {
                    TimeoutError::Elapsed { .. } => Fault(format!("limit of v{name}")),
                    TimeoutError::Context(error) => error,
                })
                .boxed(),
            None => scripted.boxed(),
        };
        if spec.independent {
            self.log(|log| {
                log.records[id].independent = true;
                log.records[id].home = None;
            });
            context = context.independent().boxed();
        }
        if let Some(around) = spec.inside {
            let things = held.things();
            let around = things.iter().find(|(name, _)| *name == around);
            if let Some((
                _,
                Thing::Guard {
                    id: around, guard, ..
                },
            )) = around
            {
                self.log(|log| log.records[id].declared = Some(*around));
                context = context.inside(guard).boxed();
            }
        }
        (id, context, its)
    }

    async fn open(
        self: &Arc<Self>,
        name: Name,
        spec: &Spec,
        cut: Cut,
        frame: Frame,
        held: &Held,
    ) -> Result<(), Fault> {
        let (id, context, its) = self.context(name, Kind::Guard, spec, frame, held);
        // Not kept alive from here: an enter that is given up may fail on another thread, and gives
        // up what it holds.
        let its = {
            let held_by_it = Arc::downgrade(&its);
            drop(its);
            held_by_it
        };
        let guard = Driven::new(self, id, frame.code, context.guard());
        if let Some(guard) = self.until(guard, cut).await {
            let guard = Box::new(guard?);
            let held_by_it = its.upgrade().expect("the context has been entered");
            held.put(
                name,
                Thing::Guard {
                    id,
                    guard,
                    held_by_it,
                },
            );
        }
        Ok(())
    }

    async fn with(
        self: &Arc<Self>,
        name: Name,
        spec: &Spec,
        body: &Body,
        cut: Cut,
        frame: Frame,
        held: &Arc<Held>,
    ) -> Result<(), Fault> {
        let (id, context, its) = self.context(name, Kind::With, spec, frame, held);
        drop(its);
        let moved = Held::new(self, frame.code);
        for name in &body.moves {
            if let Some(thing) = held.take(*name) {
                moved.put(*name, thing);
            }
        }
        let (run, body, around) = (Arc::clone(self), body.clone(), Arc::clone(held));
        let code = frame.code;
        let body = async move |_: &mut u32| {
            let end = BodyEnd::new(&run, id, code);
            // A captured value would drop after all locals.
            let moved = moved;
            let frame = Frame {
                home: Some(id),
                code,
            };
            let ended = caught(async {
                run.block(&body.block, frame, &moved).await?;
                run.come(body.fate, &format!("the body of v{name}"))
            });
            let ended = ended.await;
            if let Ok(Ok(())) = ended {
                for name in &body.leaves {
                    if let Some(thing) = moved.take(*name) {
                        around.put(*name, thing);
                    }
                }
            }
            moved.drop_all();
            end.is(outcome_of(&ended));
            ended.unwrap_or_else(|payload| resume_unwind(payload))
        };
        let with = Driven::new(self, id, frame.code, context.with(body));
        let ended = self.until(with, cut).await;
        if ended.is_some() {
            self.log(|log| {
                let at = log.note(format!("v{name} is over"));
                log.records[id].over = Some(at);
            });
        }
        ended.unwrap_or(Ok(()))
    }

    /// Runs a part of the body of a guard, which is held again afterwards.
    async fn part(
        self: &Arc<Self>,
        name: Name,
        thing: Thing,
        block: &Block,
        cut: Cut,
        frame: Frame,
        held: &Arc<Held>,
    ) -> Result<(), Fault> {
        let mut used = InUse {
            run: self,
            code: frame.code,
            thing: Some(thing),
        };
        let Some(Thing::Guard { id, guard, .. }) = &mut used.thing else {
            if let Some(thing) = used.thing.take() {
                held.put(name, thing);
            }
            return Ok(());
        };
        let id = *id;
        let (run, block, around) = (Arc::clone(self), block.clone(), Arc::clone(held));
        let frame = Frame {
            home: Some(id),
            code: frame.code,
        };
        let part = async move |_: &mut u32| {
            let mut over = PartEnd(&run, id, true);
            let ended = caught(run.block(&block, frame, &around)).await;
            over.2 = false;
            ended.unwrap_or_else(|payload| resume_unwind(payload))
        };
        let ended = caught(Guard::run(guard, part));
        let ended = self.until(Box::pin(ended), cut).await;
        if let Some(ended) = &ended {
            self.log(|log| log.part_ended(id, &outcome_of(ended)));
        }
        if let Some(thing) = used.thing.take() {
            held.put(name, thing);
        }
        match ended {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(payload)) => resume_unwind(payload),
        }
    }

    fn close(
        self: &Arc<Self>,
        thing: Thing,
        fate: Fate,
        cut: Cut,
        code: Code,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let id = thing.id();
            let result = match fate {
                Fate::Ok => Ok(()),
                Fate::Fail | Fate::Panic => {
                    let name = self.log(|log| log.records[id].name);
                    Err(self.raise(&format!("error of the body of v{name}")))
                }
            };
            let outcome = match &result {
                Ok(()) => "completed".to_owned(),
                Err(error) => format!("failed({error:?})"),
            };
            self.log(|log| {
                log.given(id, code, Some(outcome));
                // The end that came first counts, but for `Guard::fail`, the error.
                if result.is_ok() || id % 2 != 0 {
                    log.records[id].heed = Heed::Exit;
                }
            });
            let exit: BoxFuture<'static, Result<(), Fault>> = match thing {
                Thing::Guard {
                    guard, held_by_it, ..
                } => {
                    drop(held_by_it);
                    match result {
                        Ok(()) => Box::pin(Guard::close(*guard)),
                        // The two ways to fail are used in turns.
                        Err(error) if id % 2 == 0 => {
                            let failed = Guard::fail(*guard, error);
                            Box::pin(async { Err(failed.await) })
                        }
                        result @ Err(_) => Box::pin(Guard::exit(*guard, result)),
                    }
                }
                Thing::Stack(mut stack) => Box::pin(stack.closing().exit(result)),
            };
            let exit = Driven::new(self, id, code, exit);
            self.until(exit, cut).await.unwrap_or(Ok(()))
        })
    }

    /// Exits the context with the outcome of another body.
    async fn pass_on(&self, thing: Thing, outcome: &Outcome, code: Code) -> Result<(), Fault> {
        match thing {
            Thing::Guard {
                id,
                guard,
                held_by_it,
            } => {
                drop(held_by_it);
                self.log(|log| {
                    log.given(id, code, Some(outcome_text(outcome)));
                    if outcome.is_completed() {
                        log.records[id].heed = Heed::Exit;
                    }
                });
                let exit = Guard::exit_as(*guard, outcome);
                Driven::new(self, id, code, exit).await
            }
            stack @ Thing::Stack(_) => {
                stack.give_up(self, code);
                Ok(())
            }
        }
    }

    async fn task(
        self: &Arc<Self>,
        arm: &Arm,
        joined: bool,
        frame: Frame,
        held: &Held,
    ) -> Result<(), Fault> {
        if self.mode == Mode::NoRuntime {
            self.arm(arm, frame, held).await;
            return Ok(());
        }
        let code = self.log(|log| {
            log.tasks += 1;
            Code::Task(log.tasks)
        });
        let task = self.arm(arm, Frame { home: None, code }, held);
        let (ended, end) = oneshot::channel();
        let task = spawn(self, async move {
            task.await;
            let _: Result<(), ()> = ended.send(());
        });
        self.tasks().push(task);
        if joined {
            let _ = end.await;
        }
        Ok(())
    }

    /// Runs the arm, whose guards move at once.
    fn arm(
        self: &Arc<Self>,
        arm: &Arm,
        frame: Frame,
        held: &Held,
    ) -> impl Future<Output = ()> + Send + use<> {
        let its = Held::new(self, frame.code);
        for name in &arm.moves {
            if let Some(thing) = held.take(*name) {
                its.put(*name, thing);
            }
        }
        let (run, block) = (Arc::clone(self), arm.block.clone());
        async move {
            let its = its;
            run.absorb(run.block(&block, frame, &its)).await;
            its.drop_all();
        }
    }

    async fn stack(
        self: &Arc<Self>,
        name: Name,
        steps: &[Step],
        end: StackEnd,
        frame: Frame,
        held: &Arc<Held>,
    ) -> Result<(), Fault> {
        let stack = OneStack::new(self, name, frame);
        {
            let mut leases = Vec::new();
            for step in steps {
                self.step(step, &stack, &mut leases, frame, held).await?;
            }
        }
        match end {
            StackEnd::Held => held.put(name, Thing::Stack(stack)),
            StackEnd::Dropped => drop(stack),
            StackEnd::Exit(fate, cut) => {
                let closed = self.close(Thing::Stack(stack), fate, cut, frame.code);
                return closed.await;
            }
        }
        Ok(())
    }

    async fn step<'s>(
        self: &Arc<Self>,
        step: &Step,
        stack: &'s OneStack,
        leases: &mut Vec<(Id, Lease<'s, u32, Fault>)>,
        frame: Frame,
        held: &Arc<Held>,
    ) -> Result<(), Fault> {
        match step {
            Step::Enter(name, spec, cut) => {
                let (id, context, its) = self.context(*name, Kind::Entry, spec, frame, held);
                drop(its);
                let entering = stack.stack().enter(context);
                let entering = Driven::new(self, id, frame.code, entering);
                if let Some(lease) = self.until(entering, *cut).await {
                    leases.push((id, lease?));
                    self.log(|log| log.records[id].stack = Some(stack.id));
                }
            }
            Step::Keep(name, guard) => {
                if let Some(thing) = held.take(*guard) {
                    let kept = Kept::new(self, *name, thing, stack.id, frame);
                    stack.stack().keep(kept);
                }
            }
            Step::Release(number, cut) => {
                if leases.is_empty() {
                    return Ok(());
                }
                let (id, lease) = leases.remove(number % leases.len());
                self.log(|log| {
                    log.given(id, frame.code, Some("completed".to_owned()));
                    log.records[id].heed = Heed::Exit;
                });
                let released = Driven::new(self, id, frame.code, lease.release());
                return self.until(released, *cut).await.unwrap_or(Ok(()));
            }
            Step::Do(op) => {
                let op = self.op(op, frame, held);
                // An error of the operation does not end the steps. Only an error of a context of
                // the stack does.
                self.absorb(op).await;
            }
        }
        Ok(())
    }
}

/// Returns the panic of the future as an error.
async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        polled.map_or_else(|payload| Poll::Ready(Err(payload)), |polled| polled.map(Ok))
    })
    .await
}

pub(super) fn message(payload: &(dyn Any + Send)) -> String {
    let message = payload.downcast_ref::<String>();
    message.map_or_else(|| "a panic of another kind".to_owned(), Clone::clone)
}

fn outcome_of(ended: &Result<Result<(), Fault>, Box<dyn Any + Send>>) -> String {
    match ended {
        Ok(Ok(())) => "completed".to_owned(),
        Ok(Err(error)) => format!("failed({error:?})"),
        Err(payload) => format!("panicked({})", message(&**payload)),
    }
}

fn outcome_text(outcome: &Outcome) -> String {
    if let Outcome::Failed(error) = outcome {
        return format!("failed({error:?})");
    }
    if let Outcome::Panicked(panic) = outcome {
        return format!("panicked({})", panic.message());
    }
    format!("{outcome:?}").to_lowercase()
}

/// A local whose `Drop` panics.
struct Local {
    run: Arc<Run>,
    armed: bool,
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.armed && !std::thread::panicking() {
            resume_unwind(Box::new(self.run.raise("panic of a local's drop").0));
        }
    }
}

// What is held.

enum Thing {
    Guard {
        id: Id,
        guard: Box<Guard<Boxed>>,
        /// Holds the guards that are given to this one late.
        held_by_it: Arc<Held>,
    },
    Stack(OneStack),
}

impl Thing {
    fn id(&self) -> Id {
        match self {
            Self::Guard { id, .. } => *id,
            Self::Stack(stack) => stack.id,
        }
    }

    fn give_up(self, run: &Run, code: Code) {
        match self {
            Self::Guard {
                id,
                guard,
                held_by_it,
            } => {
                drop(held_by_it);
                run.log(|log| log.given(id, code, Some("cancelled".to_owned())));
                run.drop_caught(guard);
                run.log(|log| log.detached(id));
            }
            Self::Stack(mut stack) => {
                stack.code = code;
                drop(stack);
            }
        }
    }
}

/// A guard while a part of its body runs.
struct InUse<'a> {
    run: &'a Run,
    code: Code,
    thing: Option<Thing>,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if let Some(thing) = self.thing.take() {
            thing.give_up(self.run, self.code);
        }
    }
}

/// A part of a body, which notes its end: by itself, by the future beside the body, or because its
/// caller goes away.
struct PartEnd<'a>(&'a Run, Id, bool);

impl Drop for PartEnd<'_> {
    fn drop(&mut self) {
        let (id, is_dropped) = (self.1, self.2);
        self.0.log(|log| {
            let name = log.records[id].name;
            let how = if is_dropped {
                "is dropped"
            } else {
                "has ended"
            };
            log.note(format!("a part of v{name} {how}"));
        });
    }
}

impl Run {
    /// Drops the value, and records that the caller has received its panic.
    pub(super) fn drop_caught<T>(&self, value: T) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
            self.returned(message(&*payload));
        }
    }
}

/// The guards and stacks that some code holds, by name.
struct Held {
    run: Arc<Run>,
    code: Code,
    things: Mutex<Vec<(Name, Thing)>>,
}

impl Held {
    fn new(run: &Arc<Run>, code: Code) -> Arc<Self> {
        Arc::new(Self {
            run: Arc::clone(run),
            code,
            things: Mutex::default(),
        })
    }

    fn things(&self) -> MutexGuard<'_, Vec<(Name, Thing)>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, name: Name, thing: Thing) {
        self.things().push((name, thing));
    }

    fn take(&self, name: Name) -> Option<Thing> {
        let mut things = self.things();
        let at = things.iter().position(|(known, _)| *known == name)?;
        Some(things.remove(at).1)
    }

    fn pop(&self) -> Option<Thing> {
        self.things().pop().map(|(_, thing)| thing)
    }

    fn give(&self, given: Name, to: Name) {
        if given == to {
            return;
        }
        let its = self.things().iter().find_map(|(name, thing)| match thing {
            Thing::Guard { held_by_it, .. } if *name == to => Some(Arc::clone(held_by_it)),
            _ => None,
        });
        let Some(its) = its else { return };
        if let Some(thing) = self.take(given) {
            its.put(given, thing);
        }
    }

    /// Drops all things in reverse, as locals drop.
    fn drop_all(&self) {
        while let Some(thing) = self.pop() {
            thing.give_up(&self.run, self.code);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.drop_all();
    }
}

/// A stack with an entry at its bottom and, once it is given up, another at its top. These entries
/// note when the exit of the stack begins and ends.
struct OneStack {
    run: Arc<Run>,
    id: Id,
    code: Code,
    /// `None` once the stack is closed.
    stack: Option<Stack>,
}

impl OneStack {
    fn new(run: &Arc<Run>, name: Name, frame: Frame) -> Self {
        let id = run.log(|log| {
            let id = log.add(name, Kind::Stack, frame.home, frame.code);
            log.opened(id);
            log.entered(id);
            id
        });
        let stack = Stack::new();
        let its = Arc::clone(run);
        stack.defer(async move |_: &Outcome| {
            its.log(|log| log.ends(id, false));
            Ok(())
        });
        Self {
            run: Arc::clone(run),
            id,
            code: frame.code,
            stack: Some(stack),
        }
    }

    fn stack(&self) -> &Stack {
        self.stack.as_ref().expect("it is there until it is closed")
    }

    fn closing(&mut self) -> Stack {
        let (run, id) = (Arc::clone(&self.run), self.id);
        self.stack().defer(async move |outcome: &Outcome| {
            run.log(|log| log.begins(id, outcome_text(outcome)));
            Ok(())
        });
        self.stack.take().expect("it is closed once")
    }
}

impl Drop for OneStack {
    fn drop(&mut self) {
        if self.stack.is_some() {
            let (id, code) = (self.id, self.code);
            self.run
                .log(|log| log.given(id, code, Some("cancelled".to_owned())));
            let stack = self.closing();
            self.run.drop_caught(stack);
            self.run.log(|log| log.detached(id));
        }
    }
}

/// A guard that a stack keeps, as an entry whose exit drops the guard.
struct Kept {
    run: Arc<Run>,
    id: Id,
    /// Given up when this drops.
    thing: Option<Thing>,
}

impl Kept {
    fn new(run: &Arc<Run>, name: Name, thing: Thing, stack: Id, frame: Frame) -> Self {
        let id = run.log(|log| {
            let id = log.add(name, Kind::Entry, frame.home, frame.code);
            log.records[id].stack = Some(stack);
            log.opened(id);
            log.entered(id);
            id
        });
        Self {
            run: Arc::clone(run),
            id,
            thing: Some(thing),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let id = self.id;
        self.run.log(|log| log.begins(id, "its turn".to_owned()));
        if let Some(thing) = self.thing.take() {
            thing.give_up(&self.run, Code::Of(id));
        }
        self.run.log(|log| log.ends(id, false));
    }
}

// The contexts.

struct Scripted {
    run: Arc<Run>,
    id: Id,
    name: Name,
    spec: Spec,
    held: Arc<Held>,
}

impl Scripted {
    fn frame(&self) -> Frame {
        Frame {
            home: Some(self.id),
            code: Code::Of(self.id),
        }
    }
}

impl AsyncContext for Scripted {
    type Value = u32;
    type Error = Fault;
    type Verdict = ();

    async fn enter(&mut self) -> Result<u32, Fault> {
        self.run.log(|log| log.opened(self.id));
        let entered = caught(async {
            let block = self.run.block(&self.spec.enter, self.frame(), &self.held);
            block.await?;
            let what = format!("the enter of v{}", self.name);
            self.run.come(self.spec.entered, &what)
        });
        let entered = entered.await;
        self.run.log(|log| match entered {
            Ok(Ok(())) => log.entered(self.id),
            Ok(Err(_)) | Err(_) => log.enter_failed(self.id),
        });
        entered.unwrap_or_else(|payload| resume_unwind(payload))?;
        Ok(self.name)
    }

    async fn beside(&mut self) -> Result<(), Fault> {
        struct Accompanying(Arc<Run>, Id);

        impl Drop for Accompanying {
            fn drop(&mut self) {
                self.0.log(|log| log.gone_beside(self.1));
            }
        }

        let Some(Beside { naps, fate }) = self.spec.beside else {
            return Ok(());
        };
        let (run, id, name) = (&self.run, self.id, self.name);
        run.log(|log| log.begins_beside(id));
        let _gone = Accompanying(Arc::clone(run), id);
        for _ in 0..naps {
            run.nap(3).await;
        }
        let Some(fate) = fate else {
            return pending().await;
        };
        let what = format!("what is beside v{name}");
        let (ended, outcome) = match fate {
            Fate::Ok => return Ok(()),
            Fate::Fail => {
                let error = run.raise(&format!("error of {what}"));
                let outcome = format!("failed({error:?})");
                (Ok(error), outcome)
            }
            Fate::Panic => {
                let Fault(panic) = run.raise(&format!("panic of {what}"));
                let outcome = format!("panicked({panic})");
                (Err(panic), outcome)
            }
        };
        run.log(|log| log.ends_beside(id, outcome, naps == 0));
        Err(ended.unwrap_or_else(|panic| resume_unwind(Box::new(panic))))
    }

    async fn exit(self, _: u32, outcome: &Outcome) -> Result<(), Fault> {
        struct Exiting(Arc<Run>, Id, bool);

        impl Drop for Exiting {
            fn drop(&mut self) {
                self.0.log(|log| log.ends(self.1, !self.2));
            }
        }

        let frame = self.frame();
        let Self {
            run,
            id,
            name,
            spec,
            held,
        } = self;
        run.log(|log| log.begins(id, outcome_text(outcome)));
        let mut exiting = Exiting(Arc::clone(&run), id, false);
        let held = held;
        let block = run.block(&spec.exit, frame, &held);
        let ended = caught(block).await;
        // Some contexts pass on how the body ended, unless their time limit may cut off the error.
        let has_error = outcome.is_failed() || !matches!(ended, Ok(Ok(())));
        if name % 3 == 0 && (spec.limit.is_none() || !has_error) {
            while let Some(thing) = held.pop() {
                run.absorb(run.pass_on(thing, outcome, frame.code)).await;
            }
        }
        held.drop_all();
        exiting.2 = true;
        ended.unwrap_or_else(|payload| resume_unwind(payload))?;
        run.come(spec.exited, &format!("the exit of v{name}"))
    }
}

/// The last local that a body drops.
struct BodyEnd<'a>(&'a Run, Id, Code, String);

impl<'a> BodyEnd<'a> {
    fn new(run: &'a Run, id: Id, code: Code) -> Self {
        run.log(|log| log.records[id].has_body = true);
        Self(run, id, code, "cancelled".to_owned())
    }

    fn is(mut self, outcome: String) {
        self.3 = outcome;
    }
}

impl Drop for BodyEnd<'_> {
    fn drop(&mut self) {
        let outcome = mem::take(&mut self.3);
        self.0.log(|log| log.given(self.1, self.2, Some(outcome)));
    }
}

/// A use of a context by code that may drop the use. The context is then given up, if it was not
/// before.
struct Driven<'a, F> {
    run: &'a Run,
    id: Id,
    code: Code,
    /// `None` once the future has ended, or panicked.
    future: Option<Pin<Box<F>>>,
}

impl<'a, F> Driven<'a, F> {
    fn new(run: &'a Run, id: Id, code: Code, future: F) -> Self {
        Self {
            run,
            id,
            code,
            future: Some(Box::pin(future)),
        }
    }
}

impl<F: Future> Future for Driven<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut future = self.future.take().expect("it is polled until it has ended");
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.future = Some(future);
            let id = self.id;
            self.run.log(|log| {
                if log.records[id].given.is_some() && log.records[id].polled.is_none() {
                    let at = log.note(format!("v{} is waited for", log.records[id].name));
                    log.records[id].polled = Some(at);
                }
            });
        }
        polled
    }
}

impl<F> Drop for Driven<'_, F> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else {
            return;
        };
        let (id, code) = (self.id, self.code);
        self.run.log(|log| {
            let record = &log.records[id];
            if record.opened.is_none() || record.given.is_some() || record.has_body {
                return;
            }
            log.given(id, code, Some("cancelled".to_owned()));
            let record = &mut log.records[id];
            record.enters_in_background = record.entered.is_none();
        });
        self.run.drop_caught(future);
        self.run.log(|log| {
            if log.records[id].given.is_some() {
                log.detached(id);
            }
        });
    }
}
