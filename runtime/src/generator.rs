//! The function [`generator`], which [`#[async_context]`](macro@crate::async_context) calls with a
//! function's code. Messages of the compiler name the items of this module, but a program need not
//! name them.
//!
//! ```
//! use async_context_manager::generator::generator;
//! use async_context_manager::prelude::*;
//!
//! fn list(first: u32) -> impl AsyncContext<Value = Vec<u32>, Error = String, Verdict = ()> {
//!     generator("list", async move |lender| -> Result<(), String> {
//!         let (list, _outcome) = lender.yield_(vec![first]).await;
//!         drop(list);
//!         Ok(())
//!     })
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! assert_eq!(list(1).with(async |list| Ok(list.len())).await, Ok(1));
//! # }
//! ```

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::mem;
use std::sync::Mutex;

use crate::code::{Lending, Lends, Routine};
use crate::context::{AsyncContext, Verdict};
use crate::coroutine::{Borrowing, Coroutine};
use crate::door;
use crate::exchange::Stage;
use crate::lender::OFFERED;
use crate::lock::inner;
use crate::order::Kind as Hold;
use crate::outcome::Outcome;
use crate::report::{self, Kind};

pub use crate::beside::{Beside, YieldBeside};
pub use crate::cancellable::Cancellable;
pub use crate::lender::{Lender, Yield};

/// A `Result`, under whatever alias: the return type of a function under
/// [`#[async_context]`](macro@crate::async_context). Only `Result` implements this trait.
///
/// ```
/// use async_context_manager::generator::IsResult;
/// use std::io;
///
/// fn is_the_error_of<R: IsResult<Error = E>, E>(_: E) {}
/// is_the_error_of::<io::Result<u32>, _>(io::Error::other("no"));
/// ```
#[diagnostic::on_unimplemented(
    message = "an async context returns a `Result`, but this is `{Self}`",
    label = "not a `Result`",
    note = "write `-> Result<Value, Error>`: the value it lends, and the error of enter and exit"
)]
pub trait IsResult {
    /// The type of the value that the context lends.
    type Value;
    /// The error of enter and exit.
    type Error;
}

impl<V, E> IsResult for Result<V, E> {
    type Value = V;
    type Error = E;
}

/// The context that a function under [`#[async_context]`](crate::async_context) returns.
///
/// The full name of this type cannot be written, because the type of the function's code has no
/// name. The type appears only in messages of the compiler.
///
/// ```
/// # use async_context_manager::prelude::*;
/// #[async_context]
/// async fn number() -> Result<u32, std::io::Error> {
///     let (_number, _) = yield_!(42);
///     Ok(())
/// }
/// assert!(std::any::type_name_of_val(&number()).contains("Generator"));
/// ```
pub struct Generator<V, E, B, F> {
    name: &'static str,
    progress: Progress<V, B, F>,
    error: PhantomData<fn(E)>,
}

enum Progress<V, B, F> {
    /// The function's code, which has not run.
    Built(B),
    Entered(ByHand<Lending<V, F>>),
    /// For a moment, between two states.
    Moved,
}

/// Makes a context from code that [yields](Lender::yield_) once.
/// [`#[async_context]`](crate::async_context) expands to a call of this function.
///
/// # Panics
///
/// This function does not panic. But if the code breaks one of these rules, which the attribute
/// checks, its use does: the code yields once on each path that returns `Ok`, awaits the yield at
/// once, does not return before the yield has ended, and does not keep the lender after that.
///
/// ```
/// use async_context_manager::generator::generator;
/// use async_context_manager::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let number = generator("number", async move |lender| -> Result<(), String> {
///     let (_number, _outcome) = lender.yield_(42).await;
///     Ok(())
/// });
/// assert_eq!(number.with(async |number| Ok(*number)).await, Ok(42));
/// # }
/// ```
pub fn generator<V, E, B, F>(name: &'static str, code: B) -> Generator<V, E, B, F>
where
    B: FnOnce(Lender<V, E>) -> F,
{
    Generator {
        name,
        progress: Progress::Built(code),
        error: PhantomData,
    }
}

/// A verdict that only code after the yield can produce. [`#[async_context]`](crate::async_context)
/// expands to code with this type if a macro of yours before the yield may contain a `return`.
///
/// In such a macro, a `return Ok(())` does not compile: "expected `AfterYield<()>`, found `()`".
///
/// ```
/// use async_context_manager::generator::{AfterYield, after_yield};
///
/// fn exit(is_closed: bool) -> Result<AfterYield<()>, String> {
///     if !is_closed {
///         return Err("still open".to_owned());
///     }
///     after_yield(Ok(()))
/// }
/// assert!(exit(true).is_ok());
/// ```
#[derive(Debug)]
pub struct AfterYield<D>(D);

/// Marks a result as one that comes after the yield.
///
/// ```
/// use async_context_manager::generator::after_yield;
///
/// assert!(after_yield(Ok::<_, String>(())).is_ok());
/// ```
///
/// # Errors
///
/// The error of the result.
pub fn after_yield<D, E>(result: Result<D, E>) -> Result<AfterYield<D>, E> {
    result.map(AfterYield)
}

/// Reads the variable that a yield assigns. Therefore code that can end without a yield does not
/// compile.
///
/// ```compile_fail,E0381
/// use async_context_manager::generator::has_yielded;
///
/// # let condition = true;
/// let yielded: ();
/// if condition {
///     yielded = ();
/// }
/// has_yielded(yielded);
/// ```
///
/// ```
/// use async_context_manager::generator::has_yielded;
///
/// let yielded: ();
/// yielded = ();
/// has_yielded(yielded);
/// assert_eq!(yielded, ());
/// ```
pub const fn has_yielded((): ()) {}

/// Returns `None`. The expansion has a `return` of the value that this `Option` could hold. So the
/// compiler knows the type of the function's results before it sees another `return`.
///
/// ```
/// use async_context_manager::generator::no_exit;
///
/// assert_eq!(no_exit::<Result<(), String>>(), None);
/// ```
#[must_use]
pub const fn no_exit<R>() -> Option<R> {
    None
}

/// Runs code that succeeds only after the yield.
///
/// ```
/// use async_context_manager::generator::{after_yield, only_after_yield};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let code = async { after_yield(Ok(())) };
/// assert_eq!(only_after_yield::<_, String, _>(code).await, Ok(()));
/// # }
/// ```
///
/// # Errors
///
/// The error of the code.
pub async fn only_after_yield<D, E, F>(code: F) -> Result<D, E>
where
    F: Future<Output = Result<AfterYield<D>, E>>,
{
    code.await.map(|AfterYield(verdict)| verdict)
}

impl<V, B, F, D, E> AsyncContext for Generator<V, E, B, F>
where
    V: Send,
    B: FnOnce(Lender<V, E>) -> F + Send,
    F: Future<Output = Result<D, E>> + Send,
    D: Verdict,
    E: fmt::Debug + Send + Sync + 'static,
{
    type Value = V;
    type Error = E;
    type Verdict = D;
    const __LENDS: bool = true;

    /// # Panics
    ///
    /// If the context was entered before.
    async fn enter(&mut self) -> Result<V, E> {
        let Progress::Built(code) = mem::replace(&mut self.progress, Progress::Moved) else {
            entered_twice(self.name)
        };
        let watch = door::watch(self.name, Hold::Guard);
        let code = Lending::new(watch.part(), code);
        let entered = ByHand::new(Coroutine::new(self.name, watch, Hold::Guard, code));
        self.progress = Progress::Entered(entered);
        match &mut self.progress {
            Progress::Entered(entered) => entered.enter().await,
            Progress::Built(_) | Progress::Moved => {
                unreachable!("the state was set one line before")
            }
        }
    }

    /// # Panics
    ///
    /// If the context was not entered before.
    async fn beside(&mut self) -> Result<(), E> {
        match &mut self.progress {
            Progress::Entered(entered) => entered.beside().await,
            Progress::Built(_) | Progress::Moved => not_entered(self.name),
        }
    }

    /// # Panics
    ///
    /// If enter has not succeeded before.
    async fn exit(self, value: V, outcome: &Outcome) -> Result<D, E> {
        match self.progress {
            Progress::Entered(entered) => entered.exit(value, outcome).await,
            Progress::Built(_) | Progress::Moved => not_entered(self.name),
        }
    }

    fn __name(&self) -> &'static str {
        self.name
    }

    /// # Panics
    ///
    /// If the context was entered before.
    fn __coroutine(self, lender: Lender<V, E>) -> impl Future<Output = Result<D, E>> + Send {
        let Progress::Built(code) = self.progress else {
            entered_twice(self.name)
        };
        code(lender)
    }
}

impl<V, E, B, F> fmt::Debug for Generator<V, E, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The content of a struct that
/// [`#[async_context(struct = Name)]`](macro@crate::async_context#a-name-for-the-context) writes.
/// It holds the arguments of the function. Once the context is entered by hand, it holds the
/// function's code instead.
///
/// The arguments may borrow for the lifetime `'a`. The struct is the context, and its methods call
/// the methods of this type.
///
/// ```
/// use async_context_manager::generator::Named;
///
/// let arguments: Named<'static, (String, u32), u32, std::io::Error, ()> =
///     Named::new(("localhost".to_owned(), 5432));
/// assert_eq!(size_of_val(&arguments), size_of::<(String, u32)>());
/// assert_eq!(arguments.into_arguments("connect"), ("localhost".to_owned(), 5432));
/// ```
pub struct Named<'a, A, V, E, D>(Held<A, Erased<'a, V, D, E>>);

/// The function's code, without its type.
type Erased<'a, V, D, E> = ByHand<Borrowing<'a, V, D, E>>;

/// Two states. The second is in a box, so that in most cases the struct is no larger than the
/// arguments.
enum Held<A, H> {
    Arguments(A),
    /// `None` only while the arguments are on their way into the code.
    Entered(Box<Option<H>>),
}

impl<'a, A, V, E, D> Named<'a, A, V, E, D>
where
    E: fmt::Debug + Send + Sync + 'static,
{
    /// Makes the context of a function that was called with these arguments. Nothing has run yet.
    ///
    /// ```
    /// use async_context_manager::generator::Named;
    ///
    /// let named = Named::<'static, _, (), std::io::Error, ()>::new((1,));
    /// assert_eq!(named.into_arguments("context"), (1,));
    /// ```
    pub const fn new(arguments: A) -> Self {
        Self(Held::Arguments(arguments))
    }

    /// Returns the arguments, for the function's code.
    ///
    /// ```
    /// use async_context_manager::generator::Named;
    ///
    /// let named = Named::<'static, _, (), std::io::Error, ()>::new((1, "two"));
    /// assert_eq!(named.into_arguments("context"), (1, "two"));
    /// ```
    ///
    /// # Panics
    ///
    /// If the context was entered before.
    pub fn into_arguments(self, name: &str) -> A {
        match self.0 {
            Held::Arguments(arguments) => arguments,
            Held::Entered(_) => entered_twice(name),
        }
    }

    /// Returns the arguments, or `None` once the context was entered.
    pub(crate) fn arguments(&self) -> Option<&A> {
        match &self.0 {
            Held::Arguments(arguments) => Some(arguments),
            Held::Entered(_) => None,
        }
    }

    /// Enters the context by hand: `code` is the function's code with its arguments.
    ///
    /// ```
    /// use async_context_manager::Outcome;
    /// use async_context_manager::generator::{Lender, Named};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let mut named = Named::<'static, _, u32, std::io::Error, ()>::new((20, 22));
    /// let sum = async |(first, second): (u32, u32), lender: Lender<u32, _>| {
    ///     let (_sum, _outcome) = lender.yield_(first + second).await;
    ///     Ok(())
    /// };
    /// let value = named.enter("sum", sum).await?;
    /// assert_eq!(value, 42);
    /// named.exit("sum", value, &Outcome::Completed).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the code.
    ///
    /// # Panics
    ///
    /// If the context was entered before.
    pub async fn enter<F>(
        &mut self,
        name: &'static str,
        code: impl FnOnce(A, Lender<V, E>) -> F,
    ) -> Result<V, E>
    where
        V: Send + 'a,
        F: Future<Output = Result<D, E>> + Send + 'a,
    {
        let before = mem::replace(&mut self.0, Held::Entered(Box::new(None)));
        let arguments = Self(before).into_arguments(name);
        match &mut self.0 {
            Held::Entered(entered) => {
                let watch = door::watch(name, Hold::Guard);
                let code = Lending::new(watch.part(), |lender| code(arguments, lender));
                let coroutine = Coroutine::erased(name, watch, Hold::Guard, code);
                entered.insert(ByHand::new(coroutine)).enter().await
            }
            Held::Arguments(_) => unreachable!("the state was set two lines before"),
        }
    }

    /// Runs the future beside the body, by hand.
    ///
    /// ```
    /// # use async_context_manager::Outcome;
    /// # use async_context_manager::generator::{Lender, Named};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let mut named = Named::<'static, _, u32, std::io::Error, ()>::new(());
    /// let code = async |(), lender: Lender<u32, _>| {
    ///     lender.yield_beside(1, async { Err(std::io::Error::other("lost")) }).await;
    ///     Ok(())
    /// };
    /// let value = named.enter("context", code).await?;
    /// assert!(named.beside("context").await.is_err());
    /// named.exit("context", value, &Outcome::Cancelled).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the future beside the body.
    ///
    /// # Panics
    ///
    /// If enter has not succeeded before.
    pub async fn beside(&mut self, name: &str) -> Result<(), E> {
        match &mut self.0 {
            Held::Entered(entered) => match &mut **entered {
                Some(entered) => entered.beside().await,
                None => not_entered(name),
            },
            Held::Arguments(_) => not_entered(name),
        }
    }

    /// Exits the context by hand, when the body has ended.
    ///
    /// ```
    /// # use async_context_manager::Outcome;
    /// # use async_context_manager::generator::{Lender, Named};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut named = Named::<'static, _, u32, std::io::Error, ()>::new(());
    /// let code = async |(), lender: Lender<u32, _>| {
    ///     let (left, _outcome) = lender.yield_(1).await;
    ///     Err(std::io::Error::other(format!("{left} left")))
    /// };
    /// let value = named.enter("context", code).await.unwrap();
    /// let exit = named.exit("context", value + 1, &Outcome::Completed).await;
    /// assert_eq!(exit.unwrap_err().to_string(), "2 left");
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the code.
    ///
    /// # Panics
    ///
    /// If enter has not succeeded before.
    pub async fn exit(self, name: &str, value: V, outcome: &Outcome) -> Result<D, E> {
        let entered = match self.0 {
            Held::Entered(entered) => *entered,
            Held::Arguments(_) => None,
        };
        match entered {
            Some(entered) => entered.exit(value, outcome).await,
            None => not_entered(name),
        }
    }
}

impl<A, V, E, D> fmt::Debug for Named<'_, A, V, E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}

/// A coroutine that the user's own calls of `enter` and `exit` drive. The coroutine goes to the
/// background only as a part of the context whose code makes these calls.
struct ByHand<F: Lends + ?Sized> {
    /// The lock is never taken. It makes this type `Sync`.
    coroutine: Mutex<Coroutine<F>>,
    /// `true` once the caller has asked to run the future beside the body.
    asked_for_beside: bool,
}

impl<D, E, F> ByHand<F>
where
    F: Routine<Output = Result<D, E>> + ?Sized,
    E: fmt::Debug + Send + Sync + 'static,
{
    fn new(coroutine: Coroutine<F>) -> Self {
        Self {
            coroutine: Mutex::new(coroutine),
            asked_for_beside: false,
        }
    }

    async fn enter(&mut self) -> Result<F::Value, E> {
        let coroutine = inner(&mut self.coroutine);
        if let Err(error) = poll_fn(|cx| coroutine.poll_enter(cx)).await {
            return Err(match coroutine.after_failed_enter(error) {
                Ok(afterwards) => afterwards.await,
                Err(error) => error,
            });
        }
        Ok(coroutine.slot().take().expect(OFFERED))
    }

    async fn beside(&mut self) -> Result<(), E> {
        self.asked_for_beside = true;
        let coroutine = inner(&mut self.coroutine);
        poll_fn(|cx| coroutine.poll_beside(cx)).await
    }

    async fn exit(mut self, value: F::Value, outcome: &Outcome) -> Result<D, E> {
        let coroutine = inner(&mut self.coroutine);
        if coroutine.stage() != Stage::Lent {
            not_entered(coroutine.name());
        }
        if coroutine.life().runs_beside() && !self.asked_for_beside {
            report::plain(coroutine.name(), Kind::BesideNotRun);
        }
        coroutine.slot().put(value);
        coroutine.end_body(outcome.share());
        poll_fn(|cx| coroutine.poll_exit(cx)).await
    }
}

fn entered_twice(name: &str) -> ! {
    panic!("the context `{name}` is entered twice")
}

fn not_entered(name: &str) -> ! {
    panic!("the context `{name}` has not been entered")
}

impl<F: Lends + ?Sized> Drop for ByHand<F> {
    fn drop(&mut self) {
        let coroutine = inner(&mut self.coroutine);
        if !coroutine.is_over() && !coroutine.is_cancellable() {
            report::plain(coroutine.name(), Kind::NotRun);
        }
    }
}
