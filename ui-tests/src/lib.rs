//! Every form of the attribute in a crate that forbids whatever it can: that it compiles, and that
//! clippy finds nothing, is the test. The programs in `ui/` and `pass/` are run by `tests/ui.rs`.

// What is forbidden can't be allowed any more: an expansion has to be clean by itself. (These two tokio's
// macros allow a part of.)
#![deny(warnings, unused)]
#![forbid(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_variables,
    unused_mut
)]
#![forbid(
    rust_2018_idioms,
    single_use_lifetimes,
    unused_qualifications,
    unused_results,
    let_underscore_drop
)]
#![forbid(clippy::all, clippy::pedantic, clippy::nursery)]
#![forbid(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::let_underscore_must_use,
    clippy::let_underscore_untyped,
    clippy::panic_in_result_fn,
    clippy::pattern_type_mismatch,
    clippy::shadow_same,
    clippy::unwrap_used,
    clippy::used_underscore_items
)]
#![expect(
    unexpected_cfgs,
    reason = "one of the forms has an argument that is never there"
)]

#[path = "../corpus/forms.rs"]
pub mod forms;
