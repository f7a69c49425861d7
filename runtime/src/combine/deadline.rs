//! A time limit for a body, which the body can see and move.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::context::AsyncContext;
use crate::generator::generator;
use crate::time_limit::{Timer, check_timer};

/// A context that limits the time of its body: Python's `asyncio.timeout(seconds)`, trio's
/// `fail_after(seconds)`.
///
/// Its value tells how much time is left, and can move the deadline. When the deadline has passed,
/// the body drops, and contexts inside the body exit as cancelled. The caller gets the error after
/// those exits. `tokio::time::timeout`, in contrast, returns while they still run in the
/// background.
///
/// ```
/// use async_context_manager::{deadline, prelude::*};
/// use std::{future::pending, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let second = Duration::from_secs(1);
/// let result = deadline(second).with(async |_| pending::<Result<(), _>>().await).await;
/// assert_eq!(result.unwrap_err().after(), second);
///
/// let result = deadline(second).with(async |deadline| {
///     deadline.extend(second * 10);
///     tokio::time::sleep(second * 5).await;
///     Ok(deadline.remaining())
/// });
/// assert_eq!(result.await, Ok(second * 6));
/// # }
/// ```
///
/// With its error suppressed, `deadline` is trio's `move_on_after(seconds)`:
///
/// ```
/// use async_context_manager::{Elapsed, async_with, deadline, prelude::*, suppress};
/// use std::{future::pending, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Elapsed> {
/// let answer: Option<u32> = async_with!(
///     _ = suppress::<Elapsed>(), _ = deadline(Duration::from_secs(1)) => pending().await
/// )?;
/// assert_eq!(answer, None);
/// # Ok(())
/// # }
/// ```
///
/// For a body with other errors, use [`err_into`](crate::AsyncContextExt::err_into):
/// `deadline(limit).err_into::<AppError>()`, where `AppError` is `From<Elapsed>`. To limit the body
/// of another context, use [`body_timeout`](crate::AsyncContextExt::body_timeout).
///
/// # Errors
///
/// [`Elapsed`], if the deadline passes before the body has ended. If the deadline passes in the
/// poll in which the body ends, the body's result counts.
///
/// # Panics
///
/// If the context is entered on a tokio runtime without a timer.
pub fn deadline(
    limit: Duration,
) -> impl AsyncContext<Value = Deadline, Error = Elapsed, Verdict = ()> {
    let name = "async_context_manager::deadline";
    generator(name, async move |lender| -> Result<(), Elapsed> {
        check_timer();
        let deadline = Deadline::after(limit);
        let seen = deadline.clone();
        let link = lender.link();
        let mut timer = None;
        let mut has_begun = false;
        let beside = move |cx: &mut Context<'_>| {
            if !has_begun && seen.remaining().is_zero() {
                // In the poll in which the code yields, the body has not been polled yet. It must
                // get that poll, because a body that never waits counts as in time.
                has_begun = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            has_begun = true;
            if link.has_a_body() {
                seen.poll(&mut timer, cx).map(Err)
            } else {
                // A body that has ended was in time.
                Poll::Ready(Ok(()))
            }
        };
        lender.yield_beside_all(deadline, beside).await;
        Ok(())
    })
}

/// The value of [`deadline`]. Clones move the same deadline.
///
/// ```
/// use async_context_manager::{Deadline, deadline, prelude::*};
/// use std::time::Duration;
///
/// fn work(deadline: &Deadline) -> bool {
///     deadline.remaining() > Duration::from_secs(1)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let hour = Duration::from_secs(3600);
/// assert_eq!(deadline(hour).with(async |deadline| Ok(work(deadline))).await, Ok(true));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Deadline(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    begun: Instant,
    /// `None` if the deadline is so far away that it never comes.
    when: Option<Instant>,
    has_passed: bool,
    beside: Option<Waker>,
}

impl Deadline {
    fn after(limit: Duration) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            begun: now,
            when: now.checked_add(limit),
            has_passed: false,
            beside: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the timer. The moment that the timer was created for is kept with it: if the deadline
    /// has moved, a new timer is needed.
    fn poll(
        &self,
        timer: &mut Option<(Option<Instant>, Timer)>,
        cx: &mut Context<'_>,
    ) -> Poll<Elapsed> {
        // Cloned and dropped without the lock, because a waker may run code of the user.
        let waker = cx.waker().clone();
        let (mut when, before) = {
            let mut state = self.state();
            if state.has_passed {
                return Poll::Pending;
            }
            (state.when, state.beside.replace(waker))
        };
        drop(before);
        loop {
            if timer.as_ref().is_none_or(|(of, _)| *of != when) {
                let left = when.map_or(Duration::MAX, |when| {
                    when.saturating_duration_since(Instant::now())
                });
                *timer = Some((when, Timer::new(left)));
            }
            let Some((_, timer)) = timer else {
                return Poll::Pending;
            };
            ready!(timer.poll(cx));
            let mut state = self.state();
            // Another thread may have moved the deadline meanwhile.
            if state.when == when {
                state.has_passed = true;
                let after = when.map_or(Duration::MAX, |when| {
                    when.saturating_duration_since(state.begun)
                });
                return Poll::Ready(Elapsed { after });
            }
            when = state.when;
        }
    }

    /// Returns how much time is left, or zero if the deadline has passed.
    ///
    /// ```
    /// use async_context_manager::{deadline, prelude::*};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let limit = Duration::from_secs(3);
    /// assert_eq!(deadline(limit).with(async |it| Ok(it.remaining())).await, Ok(limit));
    /// # }
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let when = self.state().when;
        when.map_or(Duration::MAX, |when| {
            when.saturating_duration_since(Instant::now())
        })
    }

    /// Returns the moment of the deadline, or `None` if it is so far away that it never comes.
    ///
    /// ```
    /// use async_context_manager::{deadline, prelude::*};
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let when = Instant::now() + Duration::from_secs(3);
    /// let seen = deadline(Duration::from_secs(3)).with(async |it| Ok(it.when()));
    /// assert_eq!(seen.await, Ok(Some(when)));
    /// # }
    /// ```
    #[must_use]
    pub fn when(&self) -> Option<Instant> {
        self.state().when
    }

    /// Moves the deadline to this moment. A deadline that has ended the body does not move.
    ///
    /// ```
    /// use async_context_manager::{deadline, prelude::*};
    /// use std::time::Duration;
    /// use tokio::time::{Instant, sleep};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let second = Duration::from_secs(1);
    /// let result = deadline(second * 60).with(async |deadline| {
    ///     deadline.reschedule(Instant::now() + second);
    ///     sleep(second * 2).await;
    ///     Ok(())
    /// });
    /// assert!(result.await.is_err());
    /// # }
    /// ```
    pub fn reschedule(&self, when: Instant) {
        self.set(|_| Some(when));
    }

    /// Moves the deadline this much further away. A deadline that has ended the body does not move.
    ///
    /// ```
    /// use async_context_manager::{deadline, prelude::*};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let second = Duration::from_secs(1);
    /// let left = deadline(second).with(async |deadline| {
    ///     deadline.extend(second);
    ///     Ok(deadline.remaining())
    /// });
    /// assert_eq!(left.await, Ok(second * 2));
    /// # }
    /// ```
    pub fn extend(&self, by: Duration) {
        self.set(|when| when?.checked_add(by));
    }

    fn set(&self, when: impl FnOnce(Option<Instant>) -> Option<Instant>) {
        let mut state = self.state();
        if state.has_passed {
            return;
        }
        state.when = when(state.when);
        let beside = state.beside.take();
        drop(state);
        // The code that waits beside the body has a timer for the old deadline.
        if let Some(waker) = beside {
            waker.wake();
        }
    }

    /// Returns `true` if the deadline has passed, and has ended the body.
    ///
    /// ```
    /// use async_context_manager::{deadline, prelude::*};
    /// use std::{future::pending, time::Duration};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let mut kept = None;
    /// let result = deadline(Duration::from_secs(1)).with(async |deadline| {
    ///     kept = Some(deadline.clone());
    ///     pending::<Result<(), _>>().await
    /// });
    /// result.await.unwrap_err();
    /// assert!(kept.unwrap().is_expired());
    /// # }
    /// ```
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.state().has_passed
    }
}

/// The error of [`deadline`]: the deadline has passed.
///
/// ```
/// use async_context_manager::{deadline, prelude::*};
/// use std::{future::pending, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let result = deadline(Duration::from_secs(1)).with(async |_| pending::<Result<(), _>>().await);
/// assert_eq!(result.await.unwrap_err().to_string(), "the deadline has passed, after 1s");
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Elapsed {
    after: Duration,
}

impl Elapsed {
    /// Returns the time that the body had, from its beginning to the deadline.
    ///
    /// ```
    /// use async_context_manager::{deadline, prelude::*};
    /// use std::{future::pending, time::Duration};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let limit = Duration::from_secs(1);
    /// let result = deadline(limit).with(async |_| pending::<Result<(), _>>().await);
    /// assert_eq!(result.await.unwrap_err().after(), limit);
    /// # }
    /// ```
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the deadline has passed, after {:?}", self.after)
    }
}

impl Error for Elapsed {}
