//! The real driver on the simulated kernel; the bytes decide what happens.
#![no_main]
#![forbid(unsafe_code)]

use watertight_sim::{draw, run};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (scenario, plan) = draw::draw_from(bytes);
    if let Err(wrong) = run::run(&scenario, &plan) {
        panic!("{wrong}");
    }
});
