#![forbid(unsafe_code)]
//! What is measured: the same small work, in all the ways there are to do it.

pub mod ways;
