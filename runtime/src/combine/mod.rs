//! Contexts made of other contexts, and some that are ready-made: one file each.

mod async_with;
mod boxed;
mod cancellable_enter;
mod closing;
mod defer;
mod either;
mod enter_timeout;
mod exit_timeout;
mod ignore_exit_errors;
mod join;
mod join_all;
mod joined;
mod map_err;
mod members;
mod option;
mod ready;
mod sequence;
mod suppress;
mod tasks;
mod time_limit;
mod together;
mod trouble;

pub use boxed::BoxContext;
pub(crate) use cancellable_enter::cancellable_enter;
pub use closing::closing;
pub use defer::defer;
pub use either::Either;
pub(crate) use enter_timeout::enter_timeout;
pub(crate) use exit_timeout::exit_timeout;
pub(crate) use ignore_exit_errors::ignore_exit_errors;
pub use join::{Join, join};
pub use join_all::{JoinAll, join_all};
pub(crate) use map_err::map_err;
pub use ready::ready;
pub use suppress::{suppress, suppress_if};
pub use tasks::{Tasks, tasks};
