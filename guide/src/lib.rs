//! The programs of the README and of the guide's pages. Each of them is a test of this package:
//! `cargo test -p guide`, or `cargo test -p guide --doc why` for those of one page.

#![forbid(unsafe_code)]

macro_rules! pages {
    ($($page:ident)*) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!(concat!("../../runtime/src/guide/", stringify!($page), ".md"))]
            mod $page {}
        )*
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

pages! {
    index why first_context choosing errors cancellation the_pool order many_contexts two_things
    shared_and_swapped streams beside web_handlers select_loops in_tests testing_contexts shutdown
    observing operating by_hand limits not_enough faq for_python coming_from
}
