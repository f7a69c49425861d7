//! The core of the runtime under many schedules of its threads: see the library of this package.
//!
//! Each test is a story: some threads use contexts, and the claims at the end must hold in whatever
//! order their steps come. shuttle itself fails a deadlock, and so a drain that does not return.

#![expect(
    dead_code,
    unexpected_cfgs,
    reason = "these files are of another package, with more files and features"
)]

#[macro_use(thread_local)]
extern crate concurrency as std;
extern crate concurrency as spin;
extern crate concurrency as tokio;
// For the programs, which are written for users.
extern crate self as async_context_manager;

#[path = "../../../runtime/src/alarm.rs"]
pub mod alarm;
#[path = "../../../runtime/src/beside.rs"]
pub mod beside;
#[path = "../../../runtime/src/body.rs"]
pub mod body;
#[path = "../../../runtime/src/cancellable.rs"]
pub mod cancellable;
#[path = "../../../runtime/src/code.rs"]
pub mod code;
#[path = "../../../runtime/src/context.rs"]
pub mod context;
#[path = "../../../runtime/src/converted.rs"]
pub mod converted;
#[path = "../../../runtime/src/coroutine.rs"]
pub mod coroutine;
#[path = "../../../runtime/src/detached.rs"]
pub mod detached;
#[path = "../../../runtime/src/door.rs"]
pub mod door;
#[path = "../../../runtime/src/driven.rs"]
pub mod driven;
#[path = "../../../runtime/src/exchange.rs"]
pub mod exchange;
#[path = "../../../runtime/src/ext.rs"]
pub mod ext;
#[path = "../../../runtime/src/failure.rs"]
pub mod failure;
#[path = "../../../runtime/src/fairness.rs"]
pub mod fairness;
#[path = "../../../runtime/src/generator.rs"]
pub mod generator;
#[path = "../../../runtime/src/guard.rs"]
pub mod guard;
#[path = "../../../runtime/src/hand_written.rs"]
pub mod hand_written;
#[path = "../../../runtime/src/lender.rs"]
pub mod lender;
#[path = "../../../runtime/src/lock.rs"]
pub mod lock;
#[path = "../../../runtime/src/observe/mod.rs"]
pub mod observe;
#[path = "../../../runtime/src/order/mod.rs"]
pub mod order;
#[path = "../../../runtime/src/outcome.rs"]
pub mod outcome;
#[path = "../../../runtime/src/panic.rs"]
pub mod panic;
#[path = "../../../runtime/src/report.rs"]
pub mod report;
#[path = "../../../runtime/src/roster.rs"]
pub mod roster;
#[path = "../../../runtime/src/scope.rs"]
pub mod scope;
#[path = "../../../runtime/src/settle.rs"]
pub mod settle;
#[path = "../../../runtime/src/shared/mod.rs"]
pub mod shared;
#[path = "../../../runtime/src/stack/mod.rs"]
pub mod stack;
#[path = "../../../runtime/src/timeout_error.rs"]
pub mod timeout_error;

pub mod carry;
pub mod combine;
mod fallback;
mod ledger;
mod steps;
mod time_limit;

pub use combine::BoxContext;
pub use context::AsyncContext;
pub use ext::AsyncContextExt;
pub use guard::Guard;
pub use outcome::Outcome;
pub use stack::{ExitStack, Lease};
pub use timeout_error::TimeoutError;

/// The runtime's prelude, without the macros.
pub mod prelude {
    pub use crate::{AsyncContext, AsyncContextExt, BoxContext, ExitStack, Guard, Outcome};
}

mod aborts;
mod besides;
mod doors;
mod drains;
mod hooks;
mod nesting;
mod programs;
mod sharing;
mod shutdowns;
