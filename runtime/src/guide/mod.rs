//! The guide: one page for each subject, in reading order, with programs that run.
//!
//! | page | |
//! | --- | --- |
//! | [Why](why) | what goes wrong without a context, in six programs |
//! | [The first context](first_context) | from nothing to a working context |
//! | [Choosing](choosing) | `with`, guard, stack, stream or shared: a table and a picture |
//! | [Errors](errors) | where each error goes; suppression |
//! | [Cancellation](cancellation) | the life of a context, as a picture; what a drop does at each point |
//! | [The pool that everybody waits for](the_pool) | what to mark `cancellable!`, and what not |
//! | [Order](order) | last in, first out, even in the background; which exit waits for which |
//! | [Many contexts](many_contexts) | nested, stacked, joined, groups of tasks |
//! | [Two things](two_things) | a context that opens two things, the second of which may fail |
//! | [Shared and swapped](shared_and_swapped) | a context that many users share; replacing it in use |
//! | [Streams](streams) | streams that own a context; responses that are sent piece by piece |
//! | [Beside the body](beside) | renewals, heartbeats and limits during the body |
//! | [Web handlers](web_handlers) | axum, and others |
//! | [`select!` loops](select_loops) | contexts in loops that wait for several things |
//! | [In tests](in_tests) | contexts as fixtures |
//! | [Testing your contexts](testing_contexts) | prove that your contexts survive being dropped anywhere |
//! | [Shutdown](shutdown) | how a program ends without cutting off exits |
//! | [Observing](observing) | counters, spans, and the list of what hangs |
//! | [Operating](operating) | what to set, what to watch, and what to do |
//! | [By hand](by_hand) | the trait, and what each side must do |
//! | [Limits](limits) | what cannot be guaranteed |
//! | [When a context is not enough](not_enough) | work that must be undone even if the process dies |
//! | [Questions](faq) | common questions, and messages of the compiler |
//! | [For Python programmers](for_python) | every name of `contextlib`, and ours |
//! | [For users of other crates](coming_from) | scopeguard, async-dropper, transaction closures |

// Each picture is an SVG file next to its page. `cargo doc` does not copy that file. So a `.uri.md`
// file, which is included before the page, defines the picture's link as a `data:` URI. A test of
// the package `guide` makes the `.uri.md` files from the pictures.

#[doc = include_str!("why.md")]
pub mod why {}

#[doc = include_str!("first_context.md")]
pub mod first_context {}

#[doc = include_str!("choosing.uri.md")]
#[doc = include_str!("choosing.md")]
pub mod choosing {}

#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("life.uri.md")]
#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("the_pool.md")]
pub mod the_pool {}

#[doc = include_str!("order.md")]
pub mod order {}

#[doc = include_str!("many_contexts.md")]
pub mod many_contexts {}

#[doc = include_str!("two_things.md")]
pub mod two_things {}

#[doc = include_str!("shared_and_swapped.md")]
pub mod shared_and_swapped {}

#[cfg_attr(feature = "stream", doc = include_str!("streams.md"))]
#[cfg_attr(not(feature = "stream"), doc = "Needs the feature `stream`.")]
pub mod streams {}

#[doc = include_str!("beside.md")]
pub mod beside {}

#[doc = include_str!("web_handlers.md")]
pub mod web_handlers {}

#[doc = include_str!("select_loops.md")]
pub mod select_loops {}

#[doc = include_str!("in_tests.md")]
pub mod in_tests {}

#[cfg_attr(feature = "testing", doc = include_str!("testing_contexts.md"))]
#[cfg_attr(not(feature = "testing"), doc = "Needs the feature `testing`.")]
pub mod testing_contexts {}

#[cfg_attr(feature = "signal", doc = include_str!("shutdown.md"))]
#[cfg_attr(not(feature = "signal"), doc = "Needs the feature `signal`.")]
pub mod shutdown {}

#[doc = include_str!("observing.md")]
pub mod observing {}

#[cfg_attr(feature = "signal", doc = include_str!("operating.md"))]
#[cfg_attr(not(feature = "signal"), doc = "Needs the feature `signal`.")]
pub mod operating {}

#[doc = include_str!("by_hand.md")]
pub mod by_hand {}

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
