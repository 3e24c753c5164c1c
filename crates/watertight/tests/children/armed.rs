//! Armed standard input: whoever reads it sees a cut as an error, also when the feeding process is killed.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![allow(clippy::exit, reason = "a child ends without the harness")]

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod moved;

/// So that nobody takes silence for a success. What is refused is tested where it is (`an_armed_input_is_refused_where_a_cut_does_not_show`).
#[cfg(not(target_os = "linux"))]
#[test]
fn a_cut_shows_to_the_reader() {
    println!("skipped: a cut of an armed input is looked at on Linux, where it is promised");
}
