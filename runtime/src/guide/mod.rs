//! The guide: one subject a page, each with programs that run.
//!
//! | page | |
//! | --- | --- |
//! | [`why`] | what goes wrong without a context, six times, as programs |
//! | [`first_context`] | from nothing to a working context |
//! | [`errors`] | who gets which error; suppression |
//! | [`cancellation`] | the life of a context, as a picture; what a drop does in each place |
//! | [`order`] | last in, first out, also in the background; what waits for what |
//! | [`many_contexts`] | nested, stacked, joined, groups of tasks |
//! | [`streams`] | streams that own a context; answers that are sent piece by piece |
//! | [`shared_and_swapped`] | opened by the first of many users, exited by the last; replaced while in use |
//! | [`two_things`] | a context that opens two things, where the second one may fail |
//! | [`beside`] | what runs beside the body: renewals, heartbeats, limits |
//! | [`shutdown`] | how a program ends without cutting off what still closes |
//! | [`observing`] | counters, spans, and the list of what hangs: operating it |
//! | [`testing_contexts`] | prove that your contexts survive being dropped anywhere |
//! | [`by_hand`] | the trait, and who owes what |
//! | [`web_handlers`] | axum |
//! | [`in_tests`] | contexts as fixtures |
//! | [`select_loops`] | contexts in `select!` loops |
//! | [`limits`] | what can't be guaranteed |
//! | [`not_enough`] | when a context is not enough: sagas, a journal, workflow engines |
//! | [`faq`] | questions that come up |
//! | [`for_python`] | every name of `contextlib`, and ours |
//! | [`coming_from`] | scopeguard, async-dropper, transaction closures |

#[doc = include_str!("why.md")]
pub mod why {}

#[doc = include_str!("first_context.md")]
pub mod first_context {}

#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("order.md")]
pub mod order {}

#[doc = include_str!("many_contexts.md")]
pub mod many_contexts {}

#[cfg_attr(feature = "stream", doc = include_str!("streams.md"))]
#[cfg_attr(not(feature = "stream"), doc = "Needs the feature `stream`.")]
pub mod streams {}

#[doc = include_str!("shared_and_swapped.md")]
pub mod shared_and_swapped {}

#[doc = include_str!("two_things.md")]
pub mod two_things {}

#[doc = include_str!("beside.md")]
pub mod beside {}

#[cfg_attr(feature = "signal", doc = include_str!("shutdown.md"))]
#[cfg_attr(not(feature = "signal"), doc = "Needs the feature `signal`.")]
pub mod shutdown {}

#[doc = include_str!("observing.md")]
pub mod observing {}

#[cfg_attr(feature = "testing", doc = include_str!("testing_contexts.md"))]
#[cfg_attr(not(feature = "testing"), doc = "Needs the feature `testing`.")]
pub mod testing_contexts {}

#[doc = include_str!("by_hand.md")]
pub mod by_hand {}

#[doc = include_str!("web_handlers.md")]
pub mod web_handlers {}

#[doc = include_str!("in_tests.md")]
pub mod in_tests {}

#[doc = include_str!("select_loops.md")]
pub mod select_loops {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("not_enough.md")]
pub mod not_enough {}

#[doc = include_str!("faq.md")]
pub mod faq {}

#[doc = include_str!("for_python.md")]
pub mod for_python {}

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}
