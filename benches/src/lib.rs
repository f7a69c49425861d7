#![forbid(unsafe_code)]
//! What is measured: the same small work, in all the ways there are to do it.

pub mod command;
pub mod dropped;
pub mod large;
pub mod neighbours;
pub mod nested;
pub mod streams;
pub mod ways;
pub mod work;
