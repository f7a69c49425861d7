//! Values that are attached to a task during a poll, and that an exit needs as well.

use std::error::Error;
use std::fmt;

use tokio::task::LocalKey;

/// Access to something that is attached to a task while the task is polled, such as the value of a
/// `tokio::task_local!`. It is the argument of [`carry`](crate::AsyncContextExt::carry).
///
/// To carry an OpenTelemetry context, an implementation captures `Context::current()`, and attaches
/// that context for each poll. The recipe `open_telemetry.rs` in the repository does this. An
/// implementation has this shape:
///
/// ```
/// use async_context_manager::{contexts::defer, prelude::*, Carry};
/// use std::cell::Cell;
///
/// thread_local! { static TRACE: Cell<u64> = const { Cell::new(0) }; } // what a tracer attaches
///
/// struct Trace;
///
/// impl Carry for Trace {
///     type Carried = u64;
///
///     fn capture(self) -> Option<u64> {
///         Some(TRACE.get())
///     }
///
///     fn attach<T>(carried: &u64, poll: impl FnOnce() -> T) -> T {
///         let outer = TRACE.replace(*carried);
///         let polled = poll(); // a real one restores it after a panic, too
///         TRACE.set(outer);
///         polled
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// TRACE.set(7);
/// let context = defer(async |_: &Outcome| {
///     assert_eq!(TRACE.get(), 7);
///     Ok::<_, String>(())
/// });
/// let guard = context.carry(Trace).guard().await.unwrap();
/// TRACE.set(8);
/// Guard::close(guard).await.unwrap();
/// assert_eq!(TRACE.get(), 8);
/// # }
/// ```
pub trait Carry: Send + 'static {
    /// The attached value.
    type Carried: Send + 'static;

    /// Returns what is attached now, or `None` if nothing is attached. The crate calls this method
    /// when enter begins.
    fn capture(self) -> Option<Self::Carried>;

    /// Calls the function while the carried value is attached, and then restores what was attached
    /// before.
    ///
    /// # Panics
    ///
    /// A panic during enter is a panic of the enter. A later panic is
    /// [reported](crate::report), and the context goes on with nothing attached, because the exit
    /// must run.
    fn attach<T>(carried: &Self::Carried, poll: impl FnOnce() -> T) -> T;
}

/// Carries the value of a `tokio::task_local!`, with a clone of the value for each poll.
impl<V: Clone + Send + 'static> Carry for &'static LocalKey<V> {
    type Carried = (Self, V);

    fn capture(self) -> Option<(Self, V)> {
        let value = self.try_with(Clone::clone).ok()?;
        Some((self, value))
    }

    fn attach<T>((key, value): &(Self, V), poll: impl FnOnce() -> T) -> T {
        key.sync_scope(value.clone(), poll)
    }
}

/// The error of a context that [carries](crate::AsyncContextExt::carry) something.
///
/// `From<E>` makes `?` work in the body.
///
/// ```
/// use async_context_manager::{contexts::ready, prelude::*, CarryError};
///
/// tokio::task_local! { static TENANT: u32; }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let result = ready::<_, String>(1).carry(&TENANT).with(async |_| Ok(())).await;
/// assert_eq!(result, Err(CarryError::NotSet)); // there is no tenant in this task
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CarryError<E> {
    /// Nothing was attached when enter began.
    NotSet,
    /// The context's own error, or the body's.
    Context(E),
}

impl<E> From<E> for CarryError<E> {
    fn from(error: E) -> Self {
        Self::Context(error)
    }
}

impl<E: fmt::Display> fmt::Display for CarryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSet => f.write_str("what the context was to carry is not set in this task"),
            Self::Context(error) => error.fmt(f),
        }
    }
}

impl<E: Error> Error for CarryError<E> {
    /// Returns the source of the context's error, because `Display` already shows that error
    /// itself.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotSet => None,
            Self::Context(error) => error.source(),
        }
    }
}
