//! Contexts made of other contexts, one file each.

mod boxed;
mod cancellable_enter;
mod ignore_exit_errors;
mod map_err;

pub use boxed::BoxContext;
pub(crate) use cancellable_enter::cancellable_enter;
pub(crate) use ignore_exit_errors::ignore_exit_errors;
pub(crate) use map_err::map_err;
