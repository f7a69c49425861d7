#![forbid(unsafe_code)]
#![expect(
    clippy::unit_arg,
    reason = "`Ok(pause(1).await)` is a body that takes a while"
)]
//! The behaviours that the crate promises, through its public API. `behaviours.md` lists them.

mod auto_traits;
mod behaviours;
mod cancellation;
mod errors;
mod features;
mod order;
mod outcome;
mod outcome_table;
mod panics;
mod peers;
mod protocol;
mod reports;
mod runtimes;
mod sizes;
mod stack;
mod stack_model;
mod suppression;
