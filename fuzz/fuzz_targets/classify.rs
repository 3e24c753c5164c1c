//! Both systems' tables of codes.
#![no_main]
#![forbid(unsafe_code)]

#[path = "../../crates/watertight-os/tests/codes/mod.rs"]
mod codes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codes::check(bytes));
