//! The reading half against its model.
#![no_main]
#![forbid(unsafe_code)]

#[path = "../../crates/watertight-core/tests/model/mod.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::read::run(bytes));
