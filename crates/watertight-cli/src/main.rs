//! The program `watertight`.
#![forbid(unsafe_code)]

fn main() {}
