//! The value of an entry, which the stack lends.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};

use crate::context::Verdict;
use crate::exchange::Loan;

use super::ExitStack;
use super::entry::{Released, release};

/// The value of a context that an [`ExitStack`] has entered, or a value that it has adopted. The
/// lease dereferences to the value, and gives the value back when the lease drops. A stack cannot
/// exit while a lease exists.
///
/// A lease that is forgotten (`mem::forget`) never gives its value back. Its context then cannot
/// exit, which is [reported](crate::report::Kind::NotRun). The other contexts exit.
///
/// ```
/// # use async_context_manager::prelude::*;
/// # use std::io;
/// # #[async_context]
/// # async fn number() -> io::Result<u32> { let (_, _) = yield_!(42); Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// let stack = ExitStack::<io::Error>::new();
/// let mut number = stack.enter(number()).await?;
/// *number += 1; // it dereferences to the value
/// drop(number); // which goes back, for the exit
/// stack.exit(Ok(())).await?;
/// # Ok(())
/// # }
/// ```
pub struct Lease<'s, V, E> {
    value: Option<V>,
    loan: Loan<V>,
    number: u64,
    stack: &'s (dyn Release<E> + Sync),
}

impl<'s, V, E> Lease<'s, V, E> {
    pub(super) fn new(
        value: V,
        loan: Loan<V>,
        number: u64,
        stack: &'s (dyn Release<E> + Sync),
    ) -> Self {
        Self {
            value: Some(value),
            loan,
            number,
            stack,
        }
    }

    /// Exits this context now, as [`Completed`](crate::Outcome::Completed). The context does not
    /// exit again with the stack.
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
    /// number.release().await?; // its exit has run
    /// assert!(stack.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The exit's error. If the future [beside](crate::guide::beside) the body of this context
    /// ended the body before, the exit sees the error of that future, and this method returns that
    /// error.
    ///
    /// # Panics
    ///
    /// If exit panics, or if the future [beside](crate::guide::beside) the body of this context has
    /// panicked.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, even before its first poll, the exit goes on in the background.
    pub fn release(self) -> impl Future<Output = Result<(), E>> + Send + use<V, E>
    where
        E: Send + 'static,
    {
        let (stack, number) = (self.stack, self.number);
        drop(self);
        let exit = stack.release(number);
        async move {
            match exit {
                Some(exit) => exit.await,
                None => Ok(()),
            }
        }
    }
}

impl<V, E> Deref for Lease<'_, V, E> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value.as_ref().expect("only the drop takes it")
    }
}

impl<V, E> DerefMut for Lease<'_, V, E> {
    fn deref_mut(&mut self) -> &mut V {
        self.value.as_mut().expect("only the drop takes it")
    }
}

impl<V, E> Drop for Lease<'_, V, E> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.loan.end(value);
        }
    }
}

impl<V: fmt::Debug, E> fmt::Debug for Lease<'_, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}

/// The part of a stack that a lease needs, without the stack's verdict.
pub(super) trait Release<E> {
    fn release(&self, number: u64) -> Option<Released<E>>;
}

impl<E, D> Release<E> for ExitStack<E, D>
where
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    fn release(&self, number: u64) -> Option<Released<E>> {
        let entry = self.entries().remove(number)?;
        release(entry)
    }
}
