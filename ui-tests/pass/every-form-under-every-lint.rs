//! Every form of the attribute in a crate that denies whatever it can.
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused
)]
#![deny(
    rust_2018_idioms,
    rust_2024_compatibility,
    single_use_lifetimes,
    unused_qualifications
)]
#![deny(
    unused_results,
    let_underscore_drop,
    unsafe_code,
    unreachable_code,
    unit_bindings
)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]
#![allow(
    unexpected_cfgs,
    reason = "one of the forms has an argument that is never there"
)]

#[path = "../corpus/forms.rs"]
pub mod forms;

fn main() {}
