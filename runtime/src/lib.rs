#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]
// The package `guide` runs the programs of the guide.
#![cfg_attr(not(doctest), doc = include_str!("guide/index.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod alarm;
mod beside;
mod body;
mod cancellable;
mod carry;
mod code;
mod combine;
mod context;
mod converted;
mod coroutine;
pub mod detached;
mod door;
mod driven;
mod exchange;
mod ext;
mod failure;
mod fairness;
mod fallback;
pub mod generator;
mod guard;
#[cfg(all(doc, not(doctest)))]
pub mod guide;
mod hand_written;
mod lender;
mod lock;
pub mod observe;
mod order;
mod outcome;
mod panic;
pub mod report;
mod roster;
mod scope;
mod settle;
mod shared;
#[cfg(feature = "signal")]
pub mod shutdown;
mod stack;
#[cfg(feature = "stream")]
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod time_limit;
mod timeout_error;

/// The attribute that turns one async function into a context.
///
/// ```
/// use async_context_manager::prelude::*;
/// use std::io;
///
/// #[async_context]
/// async fn list(first: u32) -> io::Result<Vec<u32>> {
///     let (list, outcome) = yield_!(vec![first]);
///     println!("{list:?}, {outcome:?}");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let length = list(1)
///     .with(async |list| {
///         list.push(2);
///         Ok(list.len())
///     })
///     .await?;
/// assert_eq!(length, 2);
/// # Ok(())
/// # }
/// ```
///
/// `struct = Name` names the type of the context, so that a struct can hold its guard:
///
/// ```
/// use async_context_manager::prelude::*;
/// use std::io;
///
/// /// A session, logged out at its end.
/// #[async_context(struct = Session)]
/// async fn log_in(user: String) -> io::Result<u32> {
///     let (_number, _outcome) = yield_!(user.len() as u32);
///     Ok(())
/// }
///
/// struct Client {
///     session: Guard<Session>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let client = Client { session: log_in("Ada".to_owned()).guard().await? };
/// assert_eq!(*client.session, 3);
/// Guard::close(client.session).await
/// # }
/// ```
#[cfg(feature = "macros")]
pub use async_context_manager_macros::async_context;
/// Contexts written with the keyword `yield`, on stable Rust.
///
/// ```
/// use async_context_manager::prelude::*;
///
/// contexts! {
///     async fn number() -> Result<u32, std::io::Error> {
///         let (_number, _outcome) = yield 42;
///         Ok(())
///     }
///
///     #[async_context(suppress)]
///     async fn forgiving() -> Result<(), std::io::Error> {
///         let (_, _) = yield;
///         Ok(Suppression::Suppress)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(number().with(async |number| Ok(*number)).await.unwrap(), 42);
/// # assert_eq!(forgiving().with(async |()| Ok(1)).await.unwrap(), Some(1));
/// # }
/// ```
#[cfg(feature = "macros")]
pub use async_context_manager_macros::contexts;
/// The attribute that runs a function inside a context: a decorator.
///
/// ```
/// use async_context_manager::prelude::*;
/// use std::io;
///
/// #[async_context]
/// async fn list(first: u32) -> io::Result<Vec<u32>> {
///     let (_list, _) = yield_!(vec![first]);
///     Ok(())
/// }
///
/// #[within(list(first) => list)]
/// async fn sum(first: u32, second: u32) -> io::Result<u32> {
///     list.push(second);
///     Ok(list.iter().sum())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(sum(1, 2).await.unwrap(), 3);
/// # }
/// ```
#[cfg(feature = "macros")]
pub use async_context_manager_macros::within;
pub use body::{Body, SendBody, SendExit};
#[cfg(feature = "stream")]
pub use body::{SendStreamBody, StreamBody};
pub use carry::{Carry, CarryError};
pub use combine::{
    BoxContext, Deadline, Either, Elapsed, Inside, Join, JoinAll, Slot, TaskGroup, TaskHandle,
    Tasks, Told,
};
pub use context::{AsyncContext, Suppression, Verdict};
#[doc(no_inline)]
pub use contexts::{
    closing, deadline, defer, join, join_all, keyed, ready, shared, suppress, suppress_if,
    swappable, tasks, until,
};
pub use ext::AsyncContextExt;
pub use failure::{FailedExit, Failure, StackFailure};
pub use guard::Guard;
pub use outcome::{BodyError, BodyPanic, Outcome};
pub use shared::{Keyed, Share, Shared};
pub use stack::{AcceptedBy, ExitStack, Lease};
#[cfg(feature = "stream")]
pub use stream::Items;
pub use timeout_error::{Phase, TimeoutError};

/// The ready-made contexts.
///
/// | function | context |
/// | --- | --- |
/// | [`ready`] | lends a value, and has nothing to exit |
/// | [`closing`] | lends a value, and closes the value by an async call |
/// | [`defer`] | opens nothing, and calls an async function when it exits |
/// | [`suppress`], [`suppress_if`] | suppress errors of the body |
/// | [`join`], [`join_all`] | enter and exit several contexts at the same time |
/// | [`deadline`], [`until`] | end the body after a time, or at the end of a future |
/// | [`tasks`] | spawns tasks, all of which have ended when it has exited |
/// | [`shared`], [`keyed`] | are opened by the first user, and closed by the last |
/// | [`swappable`] | can be replaced while others use the old value |
///
/// The functions are also in the root of the crate. They are not in the [`prelude`], because other
/// crates have functions of the same names.
///
/// ```
/// use async_context_manager::{contexts, prelude::*};
/// use std::io;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let both = contexts::join((
///     contexts::ready::<_, io::Error>("value"),
///     contexts::defer(async |_: &Outcome| Ok(println!("the end"))),
/// ));
/// let length = both.with(async |(text, ())| Ok(text.len())).await?;
/// assert_eq!(length, 5);
/// # Ok(())
/// # }
/// ```
pub mod contexts {
    pub use crate::combine::{
        closing, deadline, defer, join, join_all, ready, suppress, suppress_if, tasks, until,
    };
    pub use crate::shared::{keyed, shared, swappable};
}

/// The traits, types and macros that most users need, and the module [`contexts`](mod@contexts),
/// for calls such as `contexts::ready(value)`. The prelude holds no functions.
///
/// ```
/// use async_context_manager::{contexts::ready, prelude::*};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let length = ready::<_, std::io::Error>("value").with(async |text| Ok(text.len())).await;
/// assert_eq!(length.unwrap(), 5);
/// # }
/// ```
pub mod prelude {
    pub use crate::{
        AsyncContext, AsyncContextExt, BoxContext, ExitStack, Failure, Guard, Outcome, Suppression,
        TimeoutError, async_with, contexts,
    };
    #[cfg(feature = "macros")]
    pub use crate::{async_context, cancellable, within, yield_};
}

/// Lends a value to the body, in a function under [`#[async_context]`](macro@async_context).
///
/// The macro evaluates to `(value, &Outcome)`: the value as the body left it, and how the body
/// ended.
///
/// ```
/// use async_context_manager::prelude::*;
///
/// #[async_context]
/// async fn list() -> Result<Vec<u32>, std::io::Error> {
///     let (list, outcome) = yield_!(vec![1, 2]);
///     assert!(outcome.is_completed());
///     assert_eq!(list, [1, 2, 3]); // as the body left it
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// list().with(async |list| Ok(list.push(3))).await.unwrap();
/// # }
/// ```
///
/// An optional second argument is a future that runs beside the body. Its output is
/// `Result<(), Error>`. An error ends the body, as if the body had failed with it. See the guide:
/// [what runs beside the body](crate::guide::beside).
///
/// ```
/// use async_context_manager::prelude::*;
/// use std::future::pending;
///
/// #[derive(Debug, PartialEq)]
/// struct Lost;
///
/// async fn keep_alive() -> Result<(), Lost> {
///     tokio::task::yield_now().await;
///     Err(Lost)
/// }
///
/// #[async_context]
/// async fn lease() -> Result<u32, Lost> {
///     let (_token, outcome) = yield_!(7, keep_alive());
///     assert!(outcome.is_failed());
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let result = lease().with(async |_| pending::<Result<(), _>>().await).await;
/// assert_eq!(result, Err(Lost));
/// # }
/// ```
#[cfg(feature = "macros")]
#[macro_export]
macro_rules! yield_ {
    // `#[async_context]` leaves this form of the call, so that the import of the macro counts as
    // used.
    (@used) => {};
    ($($value:tt)*) => {
        ::core::compile_error!(
            "`yield_!` works only in the own code of a function under `#[async_context]`\n\
             help: put the attribute above the function, or take this out of your own macro"
        )
    };
}

/// Marks an await that may be given up, in the enter of a function under
/// [`#[async_context]`](macro@async_context): `cancellable!(future).await`.
///
/// Use it for an await that has nothing to undo, such as waiting for a lock that others hold. If
/// the caller goes away during that await, the function does not go on in the background. It is
/// dropped on the spot, with all its locals, and its own exit does not run. If one of the locals is
/// a guard, the guard's context exits in the background as cancelled. Every other local is closed
/// by its `Drop` alone.
///
/// ```
/// use async_context_manager::{detached, prelude::*};
/// use std::{convert::Infallible, sync::Arc, time::Duration};
/// use tokio::sync::{Mutex, OwnedMutexGuard};
///
/// #[async_context]
/// async fn exclusive(lock: Arc<Mutex<u32>>) -> Result<OwnedMutexGuard<u32>, Infallible> {
///     let guard = cancellable!(lock.lock_owned()).await;
///     let (_guard, _) = yield_!(guard);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let lock = Arc::new(Mutex::new(0));
/// let _held = lock.clone().lock_owned().await;
/// let waiting = exclusive(lock).with(async |number| Ok(**number));
/// assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
/// assert_eq!(detached::count(), 0); // nothing waits for the lock in the background
/// # }
/// ```
#[cfg(feature = "macros")]
#[macro_export]
macro_rules! cancellable {
    // `#[async_context]` leaves this form of the call, so that the import of the macro counts as
    // used.
    (@used) => {};
    ($($future:tt)*) => {
        ::core::compile_error!(
            "`cancellable!` works only in the own code of a function under `#[async_context]`\n\
             help: put the attribute above the function, or take this out of your own macro"
        )
    };
}
