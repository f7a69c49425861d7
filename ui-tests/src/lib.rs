//! Every form of the attribute in a crate that denies whatever it can: that it compiles, and that
//! clippy finds nothing, is the test. The programs in `ui/` and `pass/` are run by `tests/ui.rs`.
#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused
)]
#![deny(
    rust_2018_idioms,
    single_use_lifetimes,
    unused_qualifications,
    unused_results
)]
#![deny(let_underscore_drop, clippy::all, clippy::pedantic, clippy::nursery)]
#![deny(
    clippy::shadow_same,
    clippy::let_underscore_untyped,
    clippy::allow_attributes
)]
#![deny(
    clippy::unwrap_used,
    clippy::panic_in_result_fn,
    clippy::used_underscore_items
)]
#![expect(
    unexpected_cfgs,
    reason = "one of the forms has an argument that is never there"
)]

#[path = "../corpus/forms.rs"]
pub mod forms;
