//! Errors and panics at each point that a program names, and drops between its polls.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use super::cancel::run;
use super::polled::Moment;
use super::run::{Run, checked};

/// Something that goes wrong in a run: see [`inject`]. In each run, the [points](Faults::point)
/// that the program reaches are numbered from 1. Its polls are counted in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The point with this number fails.
    Error(usize),
    /// The point with this number panics.
    Panic(usize),
    /// The program is dropped immediately after this number of polls: see
    /// [`cancel_after`](super::cancel_after).
    CancelAfter(usize),
    /// The program is dropped after this number of polls, when it has been woken for the next: see
    /// [`cancel_woken_after`](super::cancel_woken_after).
    CancelWokenAfter(usize),
}

impl Fault {
    fn at(moment: Moment) -> Option<Self> {
        match moment {
            Moment::After(polls) => Some(Self::CancelAfter(polls)),
            Moment::WokenAfter(polls) => Some(Self::CancelWokenAfter(polls)),
            Moment::Never => None,
        }
    }

    fn moment(self) -> Option<Moment> {
        match self {
            Self::CancelAfter(polls) => Some(Moment::After(polls)),
            Self::CancelWokenAfter(polls) => Some(Moment::WokenAfter(polls)),
            Self::Error(_) | Self::Panic(_) => None,
        }
    }
}

/// Tells a program at which of its awaits it must fail. Clones share the same state.
///
/// The default lets nothing fail, for a program that is not under test.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Arc<[Fault]>,
    reached: Arc<AtomicUsize>,
}

impl Faults {
    fn new(plan: &[Fault]) -> Self {
        Self {
            plan: plan.into(),
            reached: Arc::default(),
        }
    }

    /// Marks a place where something can go wrong. Put this call before an await, or after it.
    ///
    /// `name` appears in the messages.
    ///
    /// # Errors
    ///
    /// If this point fails in this run.
    ///
    /// # Panics
    ///
    /// If this point panics in this run. The panic writes no line on stderr, and its text is that
    /// of [`Injected`].
    pub fn point(&self, name: &'static str) -> Result<(), Injected> {
        let point = self.reached.fetch_add(1, Ordering::Relaxed) + 1;
        let injected = Injected { point, name };
        if self.plan.contains(&Fault::Panic(point)) {
            resume_unwind(Box::new(injected.to_string()));
        }
        if self.plan.contains(&Fault::Error(point)) {
            return Err(injected);
        }
        Ok(())
    }

    /// A future to run [beside](crate::guide::beside) a body. Each of its polls is a
    /// [`point`](Self::point). If nothing goes wrong there, the future waits. With it,
    /// [`inject_everywhere`] ends the body at each moment at which a future beside the body can do
    /// so, with an error and with a panic.
    ///
    /// In `with`, the future is polled whenever the body is polled. Under a guard the future is
    /// polled once, because nothing wakes it there.
    ///
    /// ```
    /// use async_context_manager::testing::{Faults, Injected, inject_everywhere};
    /// use async_context_manager::prelude::*;
    /// use std::cell::Cell;
    /// use tokio::task::yield_now;
    ///
    /// #[async_context]
    /// async fn lease(faults: Faults) -> Result<(), Injected> {
    ///     let ((), _) = yield_!((), faults.beside("lost"));
    ///     Ok(())
    /// }
    ///
    /// async fn program(faults: Faults) -> Result<(), Injected> {
    ///     lease(faults)
    ///         .with(async |()| {
    ///             yield_now().await;
    ///             yield_now().await;
    ///             Ok(())
    ///         })
    ///         .await
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let lost = Cell::new(0);
    /// inject_everywhere(program, |run| {
    ///     if let Some(Err(error)) = run.output() {
    ///         assert_eq!(error.name(), "lost");
    ///         lost.set(lost.get() + 1);
    ///     }
    /// })
    /// .await;
    /// // Before its first wait, and at each of its waits.
    /// assert_eq!(lost.get(), 3);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`point`](Self::point), at each poll.
    ///
    /// # Panics
    ///
    /// As [`point`](Self::point), at each poll.
    pub fn beside(
        &self,
        name: &'static str,
    ) -> impl Future<Output = Result<(), Injected>> + Send + use<> {
        let faults = self.clone();
        poll_fn(move |_| match faults.point(name) {
            Ok(()) => Poll::Pending,
            Err(injected) => Poll::Ready(Err(injected)),
        })
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

/// The error of a [`point`](Faults::point).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Injected {
    point: usize,
    name: &'static str,
}

impl Injected {
    /// Returns the number of the point in its run.
    #[must_use]
    pub fn point(&self) -> usize {
        self.point
    }

    /// Returns the name of the point.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "injected at point {}, `{}`", self.point, self.name)
    }
}

impl Error for Injected {}

/// Runs the program again and again, and lets things go wrong in it: first nothing, then one thing,
/// then two, in every possible way. A thing is an error at a [`point`](Faults::point) that the
/// program reaches, a panic there, or a drop between two polls of the program. After each run,
/// waits until no exit is running in the background, and calls the check. Returns the number of
/// runs.
///
/// There are runs with two faults, because the second may hit the code that deals with the first:
/// for example, a rollback fails, or the caller of an exit gives up. A program with `n` points and
/// `p` polls is run about `2n² + 4np` times.
///
/// The order in which the program reaches its points identifies them. That order is the same in
/// each run on a current-thread runtime. On several threads, a run may reach other points than the
/// run before.
///
/// ```
/// use async_context_manager::{prelude::*, report::Kind};
/// use async_context_manager::testing::{Faults, Injected, inject_everywhere};
/// use tokio::task::yield_now;
///
/// #[async_context]
/// async fn transaction(faults: Faults) -> Result<(), Injected> {
///     faults.point("begin")?;
///     yield_now().await;
///     let ((), outcome) = yield_!(());
///     yield_now().await;
///     faults.point(if outcome.is_completed() { "commit" } else { "rollback" })
/// }
///
/// async fn program(faults: Faults) -> Result<(), Injected> {
///     transaction(faults.clone())
///         .with(async |()| faults.point("query"))
///         .await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runs = inject_everywhere(program, |run| {
///     if let Some(Err(error)) = run.output() {
///         // No error of the exit hides that of the body.
///         let failed = run.reports().iter().any(|report| report.kind() == Kind::ExitFailed);
///         assert!(!failed || error.name() == "query", "{run}");
///     }
/// })
/// .await;
/// assert!(runs > 20);
/// # }
/// ```
///
/// # Panics
///
/// If the check panics, or if the program [does not end](super#panics). Stderr first shows the call
/// of [`inject`] that repeats this run alone. The program's own panics are a part of the run.
pub async fn inject_everywhere<F: Future>(
    mut program: impl FnMut(Faults) -> F,
    mut check: impl FnMut(&Run<F::Output>),
) -> usize {
    let mut runs = 0;
    let mut plans = VecDeque::from([Vec::new()]);
    while let Some(plan) = plans.pop_front() {
        let mut trace = Trace::default();
        let repeat = || format!("inject(&{}, …)", as_code(&plan));
        let run = traced(&plan, &mut program, &mut trace);
        checked(repeat, run, &mut check).await;
        runs += 1;
        if plan.len() < 2 {
            plans.extend(trace.next(&plan));
        }
    }
    runs
}

/// Runs the program with these faults, and waits until no exit is running in the background.
///
/// ```
/// use async_context_manager::testing::{Fault, inject};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let run = inject(&[Fault::Error(2)], async |faults| {
///     faults.point("connect")?;
///     faults.point("log in")
/// })
/// .await;
/// let error = run.output().and_then(|output| output.err());
/// assert_eq!(error.map(|error| error.name()), Some("log in"));
/// # }
/// ```
///
/// # Panics
///
/// If the program [does not end](super#panics). The program's own panics are a part of the run.
pub async fn inject<F: Future>(
    faults: &[Fault],
    program: impl FnOnce(Faults) -> F,
) -> Run<F::Output> {
    traced(faults, program, &mut Trace::default()).await
}

#[derive(Debug, Default)]
struct Trace {
    /// The points reached, and the polls, when the last fault of the plan had occurred. `None` if
    /// that fault did not occur.
    then: Option<(usize, usize)>,
    points: usize,
    polls: usize,
    is_cancelled: bool,
}

async fn traced<F: Future>(
    plan: &[Fault],
    program: impl FnOnce(Faults) -> F,
    trace: &mut Trace,
) -> Run<F::Output> {
    let faults = Faults::new(plan);
    let moment = plan.iter().find_map(|fault| fault.moment());
    let last_point = plan.iter().map(|fault| match fault {
        Fault::Error(point) | Fault::Panic(point) => *point,
        Fault::CancelAfter(_) | Fault::CancelWokenAfter(_) => 0,
    });
    let last_point = last_point.max().unwrap_or(0);
    let program = program(faults.clone());
    // `points` counts the points that the program itself reached, without those of exits in the
    // background. `hit` becomes `Trace::then` if the plan has no drop.
    let (mut points, mut hit) = (0, (last_point == 0).then_some((0, 0)));
    let run = run(program, moment.unwrap_or(Moment::Never), |polls| {
        points = faults.reached();
        if points >= last_point {
            hit.get_or_insert((last_point, polls));
        }
    });
    let run = run.await.catching();
    // An exit in the background may reach the point after the last poll of the program.
    if faults.reached() >= last_point {
        hit.get_or_insert((last_point, run.polls()));
    }
    *trace = Trace {
        then: match moment {
            Some(_) => run.is_cancelled().then_some((points, run.polls())),
            None => hit,
        },
        points: faults.reached(),
        polls: run.polls(),
        is_cancelled: run.is_cancelled(),
    };
    run
}

impl Trace {
    /// Returns all plans with one more fault, after those of this plan.
    fn next(&self, plan: &[Fault]) -> Vec<Vec<Fault>> {
        let Some((points, polls)) = self.then else {
            return Vec::new();
        };
        let here =
            (points + 1..=self.points).flat_map(|point| [Fault::Error(point), Fault::Panic(point)]);
        let end = if self.is_cancelled { 0 } else { self.polls };
        let drops = Moment::from_to(polls, end).filter_map(Fault::at);
        let more = here.chain(drops);
        more.map(|fault| [plan, &[fault]].concat()).collect()
    }
}

/// The faults, as a test would write them.
fn as_code(plan: &[Fault]) -> String {
    let faults: Vec<_> = plan
        .iter()
        .map(|fault| format!("Fault::{fault:?}"))
        .collect();
    format!("[{}]", faults.join(", "))
}
