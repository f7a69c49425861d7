#![forbid(unsafe_code)]
//! The parts of the integration tests: a ledger, scripted contexts, runtimes to run them on.

#![expect(
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    reason = "a test's helpers panic where the test fails, and read better without references"
)]

mod contexts;
mod laws;
mod ledger;
mod polls;
mod scene;
mod stage;

pub use contexts::{
    AccompaniedByHand, Beside, ByHand, End, Script, accompanied, accompanied_suppressing,
    generated, generated_suppressing,
};
pub use laws::{Fact, Kind, Law, Seen, broken_laws};
pub use ledger::{Fault, Ledger, Unless};
pub use polls::{cancel_at_every_poll, pause, poll_times};
pub use scene::{Scene, come_at};
pub use stage::{Stage, everywhere, in_a_process_of_its_own, on_current_thread};
