#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod combine;
mod context;
mod coroutine;
pub mod detached;
mod ext;
mod failure;
mod fallback;
mod guard;
pub mod observe;
mod order;
mod outcome;
mod panic;
pub mod report;
mod scope;
mod stack;
#[cfg(feature = "testing")]
pub mod testing;
mod timed;

pub use async_context_manager_macros::{async_context, contexts, within};
pub use combine::{
    BoxContext, Either, Join, JoinAll, Tasks, closing, defer, join, join_all, ready, suppress,
    suppress_if, tasks,
};
pub use context::{AsyncContext, Suppression, Verdict};
pub use coroutine::Generator;
pub use ext::{AsyncContextExt, SendBody};
pub use failure::{ExitFailure, Failure, StackFailure};
pub use guard::Guard;
pub use outcome::{BodyError, BodyPanic, Outcome};
pub use stack::{ExitStack, FitsIn, Lease, SendClose};
pub use timed::{Phase, Timed};

/// What most users need: `use async_context_manager::prelude::*;`.
pub mod prelude {
    pub use crate::{
        AsyncContext, AsyncContextExt, BoxContext, ExitStack, Failure, Guard, Outcome, Suppression,
        Timed, async_context, async_with, cancellable, closing, contexts, defer, join, join_all,
        ready, suppress, suppress_if, tasks, within, yield_,
    };
}

/// Lends a value to the body, in a function under [`#[async_context]`](macro@async_context).
///
/// Evaluates to `(value, &Outcome)`: the value goes out, comes back, and brings how the body ended.
#[macro_export]
macro_rules! yield_ {
    // What `#[async_context]` leaves of a call, so that its import counts as used.
    (@used) => {};
    ($($value:tt)*) => {
        ::core::compile_error!(
            "`yield_!` works only directly in a function under `#[async_context]`\n\
             help: put `#[async_context]` above the function, and the yield into its own code"
        )
    };
}

/// Marks an await that is safe to give up, in the enter of a function under
/// [`#[async_context]`](macro@async_context): `cancellable!(future).await`.
///
/// For an await that has nothing to undo, such as waiting for a lock that others hold. When the caller
/// goes away in it, the function is dropped on the spot, with all its locals, instead of going on in
/// the background; the exit does not run. So what the function has opened before that await is closed by
/// its `Drop` alone.
#[macro_export]
macro_rules! cancellable {
    // What `#[async_context]` leaves of a call, so that its import counts as used.
    (@used) => {};
    ($($future:tt)*) => {
        ::core::compile_error!(
            "`cancellable!` works only directly in a function under `#[async_context]`\n\
             help: put `#[async_context]` above the function, and the await into its own code"
        )
    };
}

/// What the macros expand to. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::coroutine::{Lender, generator};

    /// The value and the error of a `Result`, under whatever alias.
    #[diagnostic::on_unimplemented(
        message = "an async context returns a `Result`, but this is `{Self}`",
        label = "not a `Result`",
        note = "write `-> Result<Value, Error>`: the value it lends, and the error of enter and exit"
    )]
    pub trait Yields {
        type Value;
        type Error;
    }

    impl<V, E> Yields for Result<V, E> {
        type Value = V;
        type Error = E;
    }
}
