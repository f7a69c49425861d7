#![forbid(unsafe_code)]
//! The measured work: the same small work, done in many ways.

pub mod command;
pub mod dropped;
pub mod large;
pub mod neighbours;
pub mod nested;
pub mod streams;
pub mod ways;
pub mod work;
