#![forbid(unsafe_code)]
#![expect(
    clippy::unit_arg,
    reason = "`Ok(pause(1).await)` is a body that takes a while"
)]
//! The behaviours that the crate promises, through its public API. `behaviours.md` lists them.

mod async_with;
mod auto_traits;
mod behaviours;
mod beside;
mod beside_attacks;
mod beside_soak;
mod bombs;
mod cancellation;
mod carry;
mod corpus;
mod deadlines;
mod errors;
mod features;
mod guard_model;
mod guards;
mod layers;
mod limits;
mod limits_on_background;
mod named;
mod nursery;
mod observe;
mod order;
mod order_declared;
mod order_rules;
mod outcome;
mod outcome_table;
mod panics;
mod peers;
mod protocol;
mod ready_made;
mod reports;
mod roster;
mod runtimes;
mod several;
mod shared;
#[cfg(unix)]
mod shutdown;
mod sizes;
mod stack;
mod stack_model;
mod stream;
mod suppression;
mod task_policies;
mod testing;
mod until;
