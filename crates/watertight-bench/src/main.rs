//! watertight against a raw loop and its peers, side by side in one run: `cargo run --release -p watertight-bench`.
//!
//! Never here: a figure that was not measured in this run, and a claim that rests on one sample.
#![forbid(unsafe_code)]

#[cfg(not(unix))]
#[path = "elsewhere.rs"]
mod platform;
#[cfg(unix)]
#[path = "unix/mod.rs"]
mod platform;

use std::process::ExitCode;

fn main() -> ExitCode {
    platform::run()
}
