//! A journey that is booked at several services: either all of it or nothing.
//!
//! No transaction spans the services. Each step that succeeds is entered into a stack, together
//! with its compensation, which undoes it. When all steps have succeeded, the stack exits as
//! completed, and nothing is undone. If a step fails or panics, or the caller goes away, the
//! earlier steps are undone in reverse order.
//!
//! This only works while the process lives. For what a process leaves behind when it dies, see
//! `journal.rs`.

use std::fmt::Debug;

use async_context_manager::prelude::*;

/// A step of a saga: a deed whose compensation runs unless the whole saga completes.
///
/// A deed that has failed may have been done, because its answer may have been lost. Therefore the
/// compensation also runs after a deed that failed, and must know what to undo from the number of
/// the deed.
#[async_context]
async fn step<T, E, D, U>(deed: D, undo: impl FnOnce() -> U + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: Debug + Send + Sync + 'static,
    D: Future<Output = Result<T, E>> + Send + 'static,
    U: Future<Output = Result<(), E>> + Send + 'static,
{
    let done = match deed.await {
        Ok(done) => done,
        Err(error) => {
            // The caller must get the deed's error.
            let _ = undo().await;
            return Err(error);
        }
    };
    let (_done, outcome) = yield_!(done);
    if outcome.is_completed() {
        Ok(())
    } else {
        undo().await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use async_context_manager::testing::cancel_everywhere;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Refused(&'static str);

    /// Remote services. The caller chooses the number of a booking, by which the services know it.
    #[derive(Debug, Clone, Default)]
    struct Services(Arc<Mutex<State>>);

    #[derive(Debug, Default)]
    struct State {
        bookings: BTreeMap<u64, &'static str>,
        undone: Vec<&'static str>,
        full: Option<&'static str>,
    }

    impl Services {
        async fn book(self, number: u64, what: &'static str) -> Result<u64, Refused> {
            tokio::task::yield_now().await;
            self.has_room(number, what)?;
            tokio::task::yield_now().await;
            Ok(number)
        }

        fn has_room(&self, number: u64, what: &'static str) -> Result<(), Refused> {
            let mut state = self.0.lock().unwrap();
            if state.full == Some(what) {
                return Err(Refused(what));
            }
            state.bookings.insert(number, what);
            Ok(())
        }

        async fn cancel(self, number: u64) -> Result<(), Refused> {
            tokio::task::yield_now().await;
            let mut state = self.0.lock().unwrap();
            if let Some(what) = state.bookings.remove(&number) {
                state.undone.push(what);
            }
            Ok(())
        }
    }

    async fn book_journey(services: Services) -> Result<u64, Refused> {
        ExitStack::scope(async |stack| {
            let book = |number, what| {
                let undo = services.clone();
                step(services.clone().book(number, what), move || {
                    undo.cancel(number)
                })
            };
            let flight = stack.enter(book(1, "flight")).await?;
            let hotel = stack.enter(book(2, "hotel")).await?;
            let car = stack.enter(book(3, "car")).await?;
            Ok(*flight + *hotel + *car)
        })
        .await
    }

    #[tokio::test]
    async fn a_journey_whose_steps_all_succeed_stays_booked() {
        let services = Services::default();
        assert_eq!(book_journey(services.clone()).await, Ok(6));
        let state = services.0.lock().unwrap();
        assert_eq!(state.bookings.len(), 3);
        assert!(state.undone.is_empty());
    }

    #[tokio::test]
    async fn a_step_that_fails_undoes_those_before_it_in_reverse_order() {
        let services = Services::default();
        services.0.lock().unwrap().full = Some("car");
        let refused = book_journey(services.clone()).await;
        assert_eq!(refused, Err(Refused("car")));
        let state = services.0.lock().unwrap();
        assert!(state.bookings.is_empty());
        assert_eq!(state.undone, ["hotel", "flight"]);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_at_any_moment_leaves_all_or_nothing() {
        let services = Arc::new(Mutex::new(Services::default()));
        let runs = cancel_everywhere(
            || {
                let fresh = Services::default();
                *services.lock().unwrap() = fresh.clone();
                book_journey(fresh)
            },
            |run| {
                let services = services.lock().unwrap();
                let state = services.0.lock().unwrap();
                let booked = state.bookings.len();
                assert!(booked == 0 || booked == 3, "{run:?}: {state:?}");
                // Tests that run at the same time may have reports of their own.
                let mut reports = run.reports().iter();
                let ours = reports.any(|report| report.context().contains("saga"));
                assert!(!ours, "{run:?}");
            },
        )
        .await;
        assert!(runs > 6, "{runs}");
    }
}
