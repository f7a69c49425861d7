//! The runtime's contexts that are made of others, without those that need the time or tasks of
//! tokio's own.

#[path = "../../../runtime/src/combine/body_timeout.rs"]
mod body_timeout;
#[path = "../../../runtime/src/combine/boxed.rs"]
mod boxed;
#[path = "../../../runtime/src/combine/cancellable_enter.rs"]
mod cancellable_enter;
#[path = "../../../runtime/src/combine/carry.rs"]
mod carry;
#[path = "../../../runtime/src/combine/enter_timeout.rs"]
mod enter_timeout;
#[path = "../../../runtime/src/combine/exit_timeout.rs"]
mod exit_timeout;
#[path = "../../../runtime/src/combine/ignore_exit_errors.rs"]
mod ignore_exit_errors;
#[path = "../../../runtime/src/combine/independent.rs"]
mod independent;
#[path = "../../../runtime/src/combine/inside.rs"]
mod inside;
#[path = "../../../runtime/src/combine/map_err.rs"]
mod map_err;
#[path = "../../../runtime/src/combine/relay.rs"]
mod relay;

pub(crate) use body_timeout::body_timeout;
pub use boxed::BoxContext;
pub(crate) use cancellable_enter::cancellable_enter;
pub(crate) use carry::carry;
pub(crate) use enter_timeout::enter_timeout;
pub(crate) use exit_timeout::exit_timeout;
pub(crate) use ignore_exit_errors::ignore_exit_errors;
pub(crate) use independent::independent;
pub use inside::Inside;
pub(crate) use map_err::{err_into, map_err};
