//! Contexts that are entered one by one, in any number, and exited in reverse.
//!
//! A stack is itself a context, whose exit is [`unwind`]. Therefore it is dropped, handed over and
//! ordered like any context.

mod entry;
mod lease;
mod scoped;
mod unwind;

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use crate::body::{Body as AsyncBody, SendBody, SendExit};
use crate::context::{AsyncContext, Suppression, Verdict};
use crate::driven::Drivers;
use crate::exchange::{End, Loan, Stage};
use crate::failure::StackFailure;
use crate::generator::generator;
use crate::lender::OFFERED;
use crate::lock::lock;
use crate::outcome::{BodyError, Outcome};
use crate::panic::resume;
use crate::settle::{Body, Owed};

use entry::{Entries, Entry, entry};
use unwind::{Core, Unwound};

pub use lease::Lease;

/// Contexts that are entered one by one and exited together, in reverse order: Python's
/// `AsyncExitStack`.
///
/// Use it for contexts whose number is known only at run time, or that are held across functions.
/// Besides contexts, a stack takes values with a closing function ([`adopt`](Self::adopt)),
/// functions to call ([`defer`](Self::defer)) and plain values to drop ([`keep`](Self::keep)). All
/// of them exit in reverse order.
///
/// `E` is the error of the exits and of the body. `D` is the verdict. An `ExitStack<E>` does not
/// accept a context that may suppress errors. An `ExitStack<E, Suppression>`, which
/// [`suppressing`](ExitStack::suppressing) returns, accepts such a context, and its exit gives an
/// `Option`.
///
/// ```
/// use async_context_manager::prelude::*;
/// use std::io;
///
/// #[async_context]
/// async fn lock(name: String) -> io::Result<String> {
///     let (name, _) = yield_!(name);
///     println!("unlock {name}");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let all = ExitStack::<io::Error>::scope(async |stack| {
///     let mut locks = Vec::new();
///     for name in ["a", "b", "c"] {
///         locks.push(stack.enter(lock(name.to_owned())).await?);
///     }
///     stack.defer(async |outcome| Ok(println!("unlocking all: {outcome:?}")));
///     Ok(locks.iter().map(|name| name.as_str()).collect::<String>())
/// })
/// .await?; // unlocking all: Completed, unlock c, unlock b, unlock a
/// assert_eq!(all, "abc");
/// # Ok(())
/// # }
/// ```
///
/// If nothing else determines the error type, name it, as in `ExitStack::<io::Error>::scope`. The
/// compiler cannot infer the error type from `enter`, because `enter` converts errors.
///
/// # Drop
///
/// A stack that is dropped without [`exit`](Self::exit) exits all its entries in the background, in
/// the same order, as [`Cancelled`](Outcome::Cancelled). A stack without entries just drops:
/// nothing runs, and nothing is reported.
///
/// # Order
///
/// The entries exit from the last to the first. Each exit begins when the exit above it, and all
/// contexts that the exits above it have given up, have ended. In the code around it, a stack is
/// ordered like a [guard](crate::Guard#order) that was opened when the stack was created.
///
/// # Comparison
///
/// `async with AsyncExitStack() as stack:` is [`ExitStack::scope`]; `enter_async_context` is
/// [`enter`](Self::enter), `push_async_exit` [`adopt`](Self::adopt), `push_async_callback`
/// [`defer`](Self::defer), `pop_all` [`take`](Self::take), `aclose` [`exit`](Self::exit).
#[must_use = "a stack that is dropped at once exits what is in it as cancelled"]
pub struct ExitStack<E, D = ()>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    shared: Arc<Shared<E, D>>,
}

/// What a stack shares with its scope, and with its exit in the background.
struct Shared<E: fmt::Debug + Send + Sync + 'static, D> {
    /// Only the holder of the stack locks this. It keeps the lock during a whole poll of the exit.
    core: Mutex<Core<E, D>>,
    entries: Mutex<Entries<E, D>>,
    /// The number of the entry whose future beside the body ended the body.
    ended_by: OnceLock<u64>,
    /// The drivers of the futures beside the body. A scope polls those of its stack. Those of any
    /// other stack are tasks.
    drivers: Drivers,
    /// In the first stack of a scope: the stack that has taken its place, until the scope knows.
    next: Mutex<Next<E, D>>,
    /// In a stack that has taken the place of another one in a scope: the scope's first stack.
    first: Mutex<Option<Arc<Self>>>,
}

/// What the scope does not know yet about the stack that it polls.
struct Next<E: fmt::Debug + Send + Sync + 'static, D> {
    /// The stack that has taken the place of the one before.
    stack: Option<Arc<Shared<E, D>>>,
    /// `true` once the body has ended. Then the scope polls no other stack any more.
    is_over: bool,
}

impl<E: fmt::Debug + Send + Sync + 'static, D: Verdict> Shared<E, D> {
    /// Drops the link to the scope's first stack.
    fn leave_scope(&self) {
        let first = lock(&self.first).take();
        drop(first);
    }

    /// Records that the body of the topmost entry has ended. The bodies of the other entries
    /// contain the exit of that one.
    #[cold]
    fn end_around_top(&self, cx: &mut Context<'_>) {
        if let Some((_, top)) = lock(&self.entries).iter_down().next() {
            top.end_around(cx);
        }
    }

    /// Returns how a future beside the body has ended the body, and the number of that future's
    /// entry. If several futures have ended the body, the topmost entry counts.
    fn take_end(&self) -> Option<(u64, End<BodyError>)> {
        let mut entries = lock(&self.entries);
        entries
            .iter_down()
            .find_map(|(number, entry)| Some((number, entry.take_end()?)))
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> ExitStack<E> {
    /// Returns an empty stack. It does not accept contexts that may suppress errors.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let stack = ExitStack::<io::Error>::new();
    /// let number = stack.enter(number()).await?;
    /// assert_eq!(*number, 42);
    /// drop(number);
    /// stack.exit(Ok(())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self::empty(Drivers::spawned())
    }

    /// Runs the body with a new stack, and then exits it: `async with AsyncExitStack() as stack`.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let sum = ExitStack::<io::Error>::scope(async |stack| {
    ///     let one = stack.enter(number()).await?;
    ///     let two = stack.enter(number()).await?;
    ///     Ok(*one + *two)
    /// })
    /// .await?;
    /// assert_eq!(sum, 84);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`exit`](Self::exit).
    ///
    /// # Panics
    ///
    /// If the body, an exit, or the future [beside](crate::guide::beside) the body of an entry
    /// panics. The body's panic, or else that future's, or else the first panic of an exit, goes on
    /// after all exits have run.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the body, what the body holds drops first, and then the
    /// entries exit in the background. If it is dropped during the exits, they go on in the
    /// background.
    pub fn scope<R, F>(body: F) -> impl Future<Output = Result<R, E>> + Send
    where
        R: Send,
        F: for<'a> SendBody<&'a mut Self, Result<R, E>>, // a body that is not `Send`: use `scope_local`
    {
        scoped::run(body)
    }

    /// As [`scope`](Self::scope), for a body that is not `Send`: see
    /// [`with_local`](crate::AsyncContextExt::with_local).
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::{io, rc::Rc};
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let one = Rc::new(1);
    /// let sum = ExitStack::<io::Error>::scope_local(async |stack| {
    ///     let number = stack.enter(number()).await?;
    ///     Ok(*number + *one)
    /// })
    /// .await?;
    /// assert_eq!(sum, 43);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `scope`.
    ///
    /// # Panics
    ///
    /// As `scope`.
    ///
    /// # Cancel safety
    ///
    /// As `scope`.
    pub async fn scope_local<R>(
        body: impl for<'a> AsyncBody<&'a mut Self, Result<R, E>>,
    ) -> Result<R, E> {
        scoped::run(body).await
    }
}

impl<E: fmt::Debug + Send + Sync + 'static> ExitStack<E, Suppression> {
    /// Returns an empty stack. It also accepts contexts that may suppress errors.
    ///
    /// ```
    /// # use async_context_manager::{contexts::suppress, prelude::*};
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let stack = ExitStack::suppressing();
    /// drop(stack.enter(suppress::<io::Error>()).await?);
    /// let result = stack.exit(Err::<(), io::Error>(io::ErrorKind::NotFound.into())).await?;
    /// assert_eq!(result, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn suppressing() -> Self {
        Self::empty(Drivers::spawned())
    }

    /// As [`ExitStack::scope`], with a stack that also accepts contexts that may suppress errors.
    /// Returns `None` if an error was suppressed, of the body or of an inner exit.
    ///
    /// ```
    /// # use async_context_manager::{contexts::suppress, prelude::*};
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let text = ExitStack::<io::Error, Suppression>::suppressing_scope(async |stack| {
    ///     stack.enter(suppress::<io::Error>()).await?;
    ///     tokio::fs::read_to_string("no such file").await
    /// })
    /// .await?;
    /// assert_eq!(text, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `scope`.
    ///
    /// # Panics
    ///
    /// As `scope`.
    ///
    /// # Cancel safety
    ///
    /// As `scope`.
    pub fn suppressing_scope<R, F>(body: F) -> impl Future<Output = Result<Option<R>, E>> + Send
    where
        R: Send,
        F: for<'a> SendBody<&'a mut Self, Result<R, E>>, // a body that is not `Send`: use `suppressing_scope_local`
    {
        scoped::run(body)
    }

    /// As [`suppressing_scope`](Self::suppressing_scope), for a body that is not `Send`: see
    /// [`with_local`](crate::AsyncContextExt::with_local).
    ///
    /// ```
    /// # use async_context_manager::{contexts::suppress, prelude::*};
    /// # use std::{io, rc::Rc};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let path = Rc::new("no such file");
    /// let text = ExitStack::<io::Error, Suppression>::suppressing_scope_local(async |stack| {
    ///     stack.enter(suppress::<io::Error>()).await?;
    ///     tokio::fs::read_to_string(*path).await
    /// })
    /// .await?;
    /// assert_eq!(text, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `scope`.
    ///
    /// # Panics
    ///
    /// As `scope`.
    ///
    /// # Cancel safety
    ///
    /// As `scope`.
    pub async fn suppressing_scope_local<R>(
        body: impl for<'a> AsyncBody<&'a mut Self, Result<R, E>>,
    ) -> Result<Option<R>, E> {
        scoped::run(body).await
    }
}

impl<E, D> ExitStack<E, D>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    fn empty(drivers: Drivers) -> Self {
        let shared = Shared {
            core: Mutex::new(Core::open()),
            entries: Mutex::default(),
            ended_by: OnceLock::new(),
            drivers,
            next: Mutex::new(Next {
                stack: None,
                is_over: false,
            }),
            first: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Enters the context, and lends its value. The context exits with the stack.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let stack = ExitStack::<io::Error>::new();
    /// let mut one = stack.enter(number()).await?;
    /// let mut two = stack.enter(number()).await?;
    /// std::mem::swap(&mut *one, &mut *two); // both exist at once
    /// # drop((one, two));
    /// stack.exit(Ok(())).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of enter. The stack has not changed.
    ///
    /// # Panics
    ///
    /// If enter panics.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during enter, enter goes on in the background, and exit follows, as
    /// with [`with`](crate::AsyncContextExt::with). The stack has not changed.
    pub async fn enter<C>(&self, context: C) -> Result<Lease<'_, C::Value, E>, E>
    where
        C: AsyncContext<Verdict: AcceptedBy<D>, Error: Into<E>> + 'static, // a context that borrows: use `with_scoped`
    {
        let (mut entry, loan) = entry(context);
        resume(entry.enter().await)?;
        let driver = entry.drive();
        let lease = self.push(entry, loan);
        // After the entry, because a driver may end the body at once, in another thread. The scope
        // then looks for the end in the entries.
        if let Some((driver, _)) = driver {
            self.shared.drivers.add(driver);
        }
        Ok(lease)
    }

    /// Lends a value that is already open, and closes it with the stack.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), std::io::Error> {
    /// let stack = ExitStack::<std::io::Error>::new();
    /// let mut numbers = stack.adopt(vec![1, 2], async |numbers: Vec<i32>, _outcome| {
    ///     assert_eq!(numbers, [1, 2, 3]);
    ///     Ok(())
    /// });
    /// numbers.push(3);
    /// drop(numbers);
    /// stack.exit(Ok(())).await
    /// # }
    /// ```
    pub fn adopt<V, F>(&self, value: V, close: F) -> Lease<'_, V, E>
    where
        V: Send + 'static,
        F: for<'o> SendExit<V, &'o Outcome, Result<(), E>> + 'static,
    {
        let name = std::any::type_name::<F>();
        let context = generator(name, async move |lender| -> Result<D, E> {
            let (value, outcome) = lender.yield_(value).await;
            close(value, outcome).await?;
            Ok(D::PROPAGATE)
        });
        self.push_at_once(context)
    }

    /// Calls the function when the stack exits. The function cannot suppress an error. It must not
    /// borrow from the code around it (`async move |outcome| …`), because it may run in the
    /// background.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let stack = ExitStack::<io::Error>::new();
    /// let (send, said) = tokio::sync::oneshot::channel();
    /// stack.defer(async move |outcome| {
    ///     send.send(outcome.is_completed()).ok();
    ///     Ok(())
    /// });
    /// stack.exit(Ok(())).await?;
    /// assert_eq!(said.await, Ok(true));
    /// # Ok(())
    /// # }
    /// ```
    pub fn defer<F>(&self, call: F)
    where
        F: for<'o> SendBody<&'o Outcome, Result<(), E>> + 'static,
    {
        let name = std::any::type_name::<F>();
        let context = generator(name, async move |lender| -> Result<D, E> {
            let ((), outcome) = lender.yield_(()).await;
            call(outcome).await?;
            Ok(D::PROPAGATE)
        });
        drop(self.push_at_once(context));
    }

    /// Keeps a value. The value drops when its turn in the exit of the stack comes.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// use std::sync::Arc;
    ///
    /// let stack = ExitStack::<io::Error>::new();
    /// let guard = Arc::new("a plain guard");
    /// let seen = Arc::downgrade(&guard);
    /// stack.keep(guard);
    /// assert!(seen.upgrade().is_some());
    /// stack.exit(Ok(())).await?;
    /// assert!(seen.upgrade().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep<T: Send + 'static>(&self, value: T) {
        self.defer(async move |_: &Outcome| {
            drop(value);
            Ok(())
        });
    }

    /// Returns the number of entries.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let stack = ExitStack::<io::Error>::new();
    /// drop(stack.enter(number()).await?); // the lease is given back, the context stays
    /// stack.keep("a value");
    /// assert_eq!(stack.len(), 2);
    /// # stack.exit(Ok(())).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Returns `true` if there are no entries.
    ///
    /// ```
    /// use async_context_manager::ExitStack;
    ///
    /// assert!(ExitStack::<std::io::Error>::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves all entries to a new stack, and leaves this one empty. Nothing runs.
    ///
    /// The new stack is a value like any other. If a function holds both stacks side by side, they
    /// drop in the order in which Rust drops locals.
    ///
    /// In a [`scope`](Self::scope), call this method rather than `std::mem::take`, which leaves a
    /// stack that the scope does not see. An error from [beside](crate::guide::beside) an entry of
    /// that stack does not end the body. It replaces the body's result when the body has ended.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let kept = ExitStack::<io::Error>::scope(async |stack| {
    ///     drop(stack.enter(number()).await?);
    ///     Ok(stack.take()) // all are open: now they outlive the block
    /// })
    /// .await?;
    /// assert_eq!(kept.len(), 1);
    /// kept.exit(Ok(())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn take(&mut self) -> Self {
        let taken = mem::take(self);
        if taken.shared.drivers.is_polled() {
            taken.hand_scope_to(self);
            taken.shared.drivers.spawn();
        }
        taken
    }

    /// Makes the scope poll the futures beside the body of the other stack from now on, instead of
    /// those of this stack.
    fn hand_scope_to(&self, other: &Self) {
        let other = &other.shared;
        let first = lock(&self.shared.first).take();
        let first = first.unwrap_or_else(|| Arc::clone(&self.shared));
        // Before the scope can find the other stack: at its end, the scope looks for another stack
        // only if there is something to look after.
        first.drivers.wants_a_look();
        {
            let mut next = lock(&first.next);
            if next.is_over {
                return;
            }
            other.drivers.begin_polling();
            other.drivers.wants_a_look();
            next.stack = Some(Arc::clone(other));
            *lock(&other.first) = Some(Arc::clone(&first));
        }
        self.shared.drivers.wake_poller();
    }

    /// Moves all entries of the other stack onto this one, in their order. Nothing runs.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let mut stack = ExitStack::<io::Error>::new();
    /// let more = ExitStack::new();
    /// drop(more.enter(number()).await?);
    /// stack.extend(more);
    /// assert_eq!(stack.len(), 1);
    /// stack.exit(Ok(())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn extend(&mut self, mut other: Self) {
        let mut entries = mem::take(&mut *self.entries());
        let more = mem::take(&mut *other.entries());
        entries.append(more);
        // The older stack is kept, because its exit waits for more: for each context beside the
        // stack that is younger than the stack and was given up first.
        let is_older = lock(&other.shared.core).is_older_than(&lock(&self.shared.core));
        if is_older {
            mem::swap(self, &mut other);
            if other.shared.drivers.is_polled() {
                other.hand_scope_to(self);
            }
        }
        *self.entries() = entries;
        self.shared.drivers.append(&other.shared.drivers);
        other.dissolve(&Outcome::Completed);
    }

    /// Exits all entries, in reverse order, even if some exits fail.
    ///
    /// Each exit sees the outcome that it would see if the contexts were nested. If the body has
    /// not failed, the outer exits see the error of the first exit that failed. After a
    /// suppression, the outer exits see [`Completed`](Outcome::Completed). If the caller goes away
    /// meanwhile, the exit that is running or comes next keeps its outcome, and the exits after it
    /// see [`Cancelled`](Outcome::Cancelled).
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[async_context]
    /// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let stack = ExitStack::<io::Error>::new();
    /// let number = stack.enter(number()).await?;
    /// let result = Ok(*number);
    /// drop(number); // a stack can't exit while a lease is out
    /// assert_eq!(stack.exit(result).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the result, else the first error of an exit. All others are
    /// [reported](crate::report); [`try_exit`](Self::try_exit) returns all of them.
    ///
    /// # Panics
    ///
    /// If an exit panics, or if the future [beside](crate::guide::beside) the body of an entry has
    /// panicked. That future's panic, or else the first panic of an exit, goes on after all exits
    /// have run.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, even before its first poll, the exits go on in the background.
    pub fn exit<R>(self, result: Result<R, E>) -> impl Future<Output = Result<D::Output<R>, E>> {
        let exit = self.try_exit(result);
        async move {
            let ended = exit.await;
            ended.map_err(|failure| failure.into_primary_reporting(NAME))
        }
    }

    /// Like [`exit`](Self::exit), but returns every error.
    ///
    /// ```
    /// # use async_context_manager::prelude::*;
    /// # use std::io;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> io::Result<()> {
    /// let stack = ExitStack::new();
    /// stack.defer(async |_| Err("disk full"));
    /// let failure = stack.try_exit(Ok(7)).await.unwrap_err();
    /// assert_eq!(failure.value, Some(7));
    /// assert_eq!(failure.exits[0].error, "disk full");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`StackFailure`]: the body's error, and the errors of all exits that failed, in the order
    /// in which they ran. If an exit has suppressed the error, that failure is gone, and the other
    /// errors before the suppression are [reported](crate::report).
    ///
    /// # Panics
    ///
    /// As `exit`.
    ///
    /// # Cancel safety
    ///
    /// As `exit`.
    pub fn try_exit<R>(
        self,
        result: Result<R, E>,
    ) -> impl Future<Output = Result<D::Output<R>, StackFailure<R, E>>> {
        let body = self.ended_from_beside(Body::of(result));
        self.end(body)
    }

    fn end<R>(
        self,
        body: Body<R, E>,
    ) -> impl Future<Output = Result<D::Output<R>, StackFailure<R, E>>> {
        let ended_by = self.shared.ended_by.get().copied();
        lock(&self.shared.core).end_body(body.outcome(), ended_by);
        if self.shared.drivers.is_used() {
            // At once, because the exit may be polled much later.
            let mut cx = Context::from_waker(Waker::noop());
            self.shared.end_around_top(&mut cx);
        }
        let owed = Owed::new(NAME, body);
        async move {
            let stack = self;
            let unwound = poll_fn(|cx| {
                // The stack is nobody else's, so no code of an exit asks for this lock.
                lock(&stack.shared.core).poll_exit(&stack.shared, cx)
            })
            .await;
            Unwound::settle(unwound, owed.take())
        }
    }

    /// Replaces the result if a future beside the body had already ended the body.
    fn ended_from_beside<R>(&self, body: Body<R, E>) -> Body<R, E> {
        if !self.shared.drivers.is_used() {
            return body;
        }
        match self.shared.take_end() {
            None => body,
            Some((number, end)) => {
                let _ = self.shared.ended_by.set(number);
                body.ended_before(NAME, end)
            }
        }
    }

    fn push<V>(&self, entry: Entry<E, D>, loan: Loan<V>) -> Lease<'_, V, E> {
        let value = loan.begin().expect(OFFERED);
        let number = self.entries().push(entry);
        Lease::new(value, loan, number, self)
    }

    /// Enters a context that lends its value at its first poll.
    fn push_at_once<C>(&self, context: C) -> Lease<'_, C::Value, E>
    where
        C: AsyncContext<Verdict = D, Error = E> + 'static,
    {
        let (mut entry, loan) = entry(context);
        entry.place().watch().go_in(true);
        let mut cx = Context::from_waker(Waker::noop());
        let entered = pin!(entry.enter()).poll(&mut cx);
        debug_assert!(
            matches!(entered, Poll::Ready(Ok(Ok(())))),
            "it awaits nothing"
        );
        self.push(entry, loan)
    }

    /// Ends the stack if it has no entries, because then there is nothing to exit.
    fn dissolve(&mut self, outcome: &Outcome) {
        if self.entries().is_empty() {
            lock(&self.shared.core).dissolve(outcome);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries<E, D>> {
        lock(&self.shared.entries)
    }
}

/// The name in reports.
const NAME: &str = "async_context_manager::ExitStack";

impl<E, D> Default for ExitStack<E, D>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    fn default() -> Self {
        Self::empty(Drivers::spawned())
    }
}

impl<E, D> Drop for ExitStack<E, D>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    fn drop(&mut self) {
        let stage = lock(&self.shared.core).stage();
        match stage {
            Stage::Over => {}
            Stage::Lent if self.entries().is_empty() => {
                self.shared.drivers.spawn();
                self.dissolve(&Outcome::Cancelled);
            }
            Stage::Entering
            | Stage::Lent
            | Stage::BodyOver
            | Stage::Exiting
            | Stage::Closing
            | Stage::OverEarly => unwind::hand_over(&self.shared),
        }
    }
}

impl<E, D> fmt::Debug for ExitStack<E, D>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for entry in self.entries().iter() {
            list.entry(&entry.name());
        }
        list.finish()
    }
}

/// The verdicts that a stack with the verdict `D` accepts: its own, and `()`.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[async_context]
/// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// use async_context_manager::{AcceptedBy, Verdict};
///
/// /// Enters the context in a stack of either kind.
/// async fn push<D: Verdict>(stack: &ExitStack<io::Error, D>) -> io::Result<()>
/// where
///     (): AcceptedBy<D>,
/// {
///     stack.enter(number()).await.map(drop)
/// }
/// let stack = ExitStack::new();
/// push(&stack).await?;
/// stack.exit(Ok(())).await?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "this stack does not accept a context that may suppress errors",
    label = "the context's verdict is `{Self}`, the stack's is `{D}`",
    note = "use an `ExitStack<E, Suppression>`, made by `ExitStack::suppressing()`"
)]
pub trait AcceptedBy<D: Verdict>: Verdict {
    #[doc(hidden)]
    fn accepted(self) -> D;
}

impl<D: Verdict> AcceptedBy<D> for D {
    fn accepted(self) -> D {
        self
    }
}

impl AcceptedBy<Suppression> for () {
    fn accepted(self) -> Suppression {
        Suppression::Propagate
    }
}
