//! An observer that passes events on to the `metrics` facade.

use metrics::{counter, gauge, histogram};

use super::watch::name;
use super::{Event, Step};

/// An observer that counts and measures each context by its name, through the crate
/// [`metrics`](https://docs.rs/metrics). The recorder that the program has installed, for instance
/// one for Prometheus, receives the numbers.
///
/// | metric | labels | |
/// | --- | --- | --- |
/// | `async_context_enters_total` | `context`, `entered` | enters that have ended |
/// | `async_context_open` | `context` | contexts between the end of enter and the end of exit |
/// | `async_context_exits_total` | `context`, `outcome`, `failed`, `detached` | exits that have ended |
/// | `async_context_detached_total` | `context` | contexts that went on in the background |
/// | `async_context_lost_total` | `context` | contexts dropped before their exit had ended |
/// | `async_context_enter_seconds` | `context` | a histogram of the time in enter |
/// | `async_context_body_seconds` | `context` | a histogram of the time in the body |
/// | `async_context_exit_seconds` | `context` | a histogram of the time in exit, including the wait for other exits |
///
/// ```
/// use async_context_manager::{contexts::ready, observe, prelude::*};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), String> {
/// observe::set_observer(observe::meter);
/// ready::<_, String>(()).with(async |()| Ok(())).await?;
/// # observe::reset_observer();
/// # Ok(())
/// # }
/// ```
///
/// If your program must do more at an event, call this observer from an observer of your own.
pub fn meter(event: &Event<'_>) {
    let context = event.context;
    match &event.step {
        Step::Entered { after } => {
            counter!("async_context_enters_total", "context" => context, "entered" => "true")
                .increment(1);
            histogram!("async_context_enter_seconds", "context" => context).record(*after);
            gauge!("async_context_open", "context" => context).increment(1);
        }
        Step::NotEntered => {
            counter!("async_context_enters_total", "context" => context, "entered" => "false")
                .increment(1);
        }
        Step::Detached => {
            counter!("async_context_detached_total", "context" => context).increment(1);
        }
        Step::Exited {
            outcome,
            exit_failed,
            detached,
            body,
            exit,
        } => {
            counter!(
                "async_context_exits_total",
                "context" => context,
                "outcome" => name(outcome),
                "failed" => yes_or_no(*exit_failed),
                "detached" => yes_or_no(*detached),
            )
            .increment(1);
            histogram!("async_context_body_seconds", "context" => context).record(*body);
            histogram!("async_context_exit_seconds", "context" => context).record(*exit);
            gauge!("async_context_open", "context" => context).decrement(1);
        }
        Step::Lost => {
            counter!("async_context_lost_total", "context" => context).increment(1);
            gauge!("async_context_open", "context" => context).decrement(1);
        }
    }
}

fn yes_or_no(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}
