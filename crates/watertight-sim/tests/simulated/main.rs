//! The simulated kernels: what a pipe promises on each of them, and how they compare with the real one.
#![cfg(unix)]
#![allow(
    clippy::duplicate_mod,
    reason = "the same promises, on one kernel after the other"
)]

mod conformance_thread;
mod conformance_unix;
mod conformance_windows;
mod corpus;
mod ground;
#[cfg(target_os = "linux")]
mod like_linux;
