//! What a function under [`#[async_context]`](macro@crate::async_context) becomes: a call of
//! [`generator`], with the function's code. The compiler's messages name what is in here; a program need
//! not.
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

use crate::context::{AsyncContext, Verdict};
use crate::coroutine::Coroutine;
use crate::exchange::Stage;
use crate::lender::OFFERED;
use crate::order::Kind as Hold;
use crate::outcome::Outcome;
use crate::report::{self, Kind};

pub use crate::beside::{Beside, YieldBeside};
pub use crate::cancellable::Cancellable;
pub use crate::lender::{Lender, Yield};

/// A `Result`, under whatever alias: what a function under
/// [`#[async_context]`](macro@crate::async_context) returns. Implemented for `Result` alone.
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
/// It has no name that can be written, and is met in messages of the compiler alone.
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
    /// The function's code, not run yet.
    Built(B),
    Entered(ByHand<V, F>),
    /// Between two states.
    Moved,
}

/// What [`#[async_context]`](crate::async_context) expands to a call of: a context with this name,
/// of a function that [yields](Lender::yield_) once.
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

    /// # Panics
    ///
    /// If it was entered before.
    async fn enter(&mut self) -> Result<V, E> {
        let Progress::Built(code) = mem::replace(&mut self.progress, Progress::Moved) else {
            panic!("the context `{}` is entered twice", self.name);
        };
        let entered = ByHand {
            coroutine: Coroutine::new(self.name, Hold::Guard, code),
            asked_for_beside: false,
        };
        self.progress = Progress::Entered(entered);
        match &mut self.progress {
            Progress::Entered(ByHand { coroutine, .. }) => {
                coroutine.enter().await?;
                Ok(coroutine.link().take().expect(OFFERED))
            }
            Progress::Built(_) | Progress::Moved => {
                unreachable!("the state was set one line before")
            }
        }
    }

    /// # Panics
    ///
    /// If it was not entered before.
    async fn beside(&mut self) -> Result<(), E> {
        match &mut self.progress {
            Progress::Entered(entered) => {
                entered.asked_for_beside = true;
                poll_fn(|cx| entered.coroutine.poll_beside(cx)).await
            }
            Progress::Built(_) | Progress::Moved => {
                panic!("the context `{}` is not entered", self.name)
            }
        }
    }

    /// # Panics
    ///
    /// If it was not entered to its end before.
    async fn exit(mut self, value: V, outcome: &Outcome) -> Result<D, E> {
        let is_entered = match &mut self.progress {
            Progress::Entered(ByHand { coroutine, .. }) => coroutine.stage() == Stage::Lent,
            Progress::Built(_) | Progress::Moved => false,
        };
        let mut entered = match self.progress {
            Progress::Entered(entered) if is_entered => entered,
            Progress::Built(_) | Progress::Entered(_) | Progress::Moved => {
                panic!("the context `{}` is exited before it is entered", self.name)
            }
        };
        let coroutine = &mut entered.coroutine;
        if coroutine.link().runs_beside() && !entered.asked_for_beside {
            report::plain(self.name, Kind::BesideNotRun);
        }
        coroutine.link().put(value);
        coroutine.end_body(outcome.share());
        poll_fn(|cx| coroutine.poll_exit(cx)).await
    }

    fn __name(&self) -> &'static str {
        self.name
    }

    /// # Panics
    ///
    /// If it was entered before.
    fn __coroutine(self, lender: Lender<V, E>) -> impl Future<Output = Result<D, E>> + Send {
        let Progress::Built(code) = self.progress else {
            panic!("the context `{}` is entered twice", self.name);
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

/// A coroutine driven by calls of `enter` and `exit`, not by a scope. There is nobody to hand it
/// over to: the context that these calls are made in is the one that goes on in the background.
struct ByHand<V, F> {
    coroutine: Coroutine<V, F>,
    /// Somebody runs what is beside the body.
    asked_for_beside: bool,
}

impl<V, F> Drop for ByHand<V, F> {
    fn drop(&mut self) {
        let coroutine = &mut self.coroutine;
        if !coroutine.is_over() && !coroutine.is_cancellable() {
            report::plain(coroutine.name(), Kind::NotRun);
        }
    }
}
