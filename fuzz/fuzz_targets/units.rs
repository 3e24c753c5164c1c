//! The program's sizes, rates and durations. The program has no library, so its files are taken as they are.
#![no_main]
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the rest of the program is not here")]

#[path = "../../crates/watertight-cli/src/rate.rs"]
mod rate;
#[path = "../../crates/watertight-cli/src/units.rs"]
mod units;
#[path = "../../crates/watertight-cli/src/units_checks.rs"]
mod units_checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| units_checks::check(bytes));
