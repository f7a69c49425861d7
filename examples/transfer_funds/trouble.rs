//! Planned trouble in the middle of a transfer, after the debit and before the credit.

use std::any::Any;
use std::panic;
use std::time::Duration;

use async_context_manager::report::Report;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// The trouble planned for a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A check that takes far longer than a transfer may.
    SlowCheck,
    /// A bug in the code.
    Panic,
}

impl Trouble {
    pub(crate) async fn strike(self) {
        match self {
            Self::SlowCheck => tokio::time::sleep(Duration::from_hours(1)).await,
            Self::Panic => panic::panic_any(PLANNED),
        }
    }
}

/// Decides about one transfer after the other, by the seed alone.
pub(crate) fn troubles(seed: u64) -> impl Iterator<Item = Option<Trouble>> {
    let mut random = SmallRng::seed_from_u64(seed);
    std::iter::repeat_with(move || match random.random_range(0..150) {
        0 => Some(Trouble::SlowCheck),
        1 => Some(Trouble::Panic),
        _ => None,
    })
}

/// The message of a planned panic.
const PLANNED: &str = "a planned panic";

/// Returns `true` for the payload of a planned panic.
pub(crate) fn is_planned_panic(payload: &(dyn Any + Send)) -> bool {
    payload.downcast_ref() == Some(&PLANNED)
}

/// Returns `true` for a report of a planned panic whose task is gone.
pub(crate) fn is_planned(report: &Report) -> bool {
    report
        .panic()
        .is_some_and(|panic| panic.message() == PLANNED)
}

/// Keeps the planned panics out of the terminal. All others are printed as usual.
pub(crate) fn silence_planned_panics() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&PLANNED) {
            others(panic);
        }
    }));
}
