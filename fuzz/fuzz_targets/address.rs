//! The program's addresses. The program has no library, so its files are taken as they are.
#![no_main]
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the rest of the program is not here")]

#[path = "../../crates/watertight-cli/src/address.rs"]
mod address;
#[path = "../../crates/watertight-cli/src/address_checks.rs"]
mod address_checks;
#[path = "../../crates/watertight-cli/src/unix_words.rs"]
mod platform;
#[path = "../../crates/watertight-cli/src/units.rs"]
mod units;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| address_checks::check(bytes));
