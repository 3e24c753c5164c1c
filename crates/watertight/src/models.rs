//! Models of the driver's races: the real driver on a kernel small enough that a checker can go through every order in
//! which the threads may run.
//!
//! `--cfg loom` explores all of them up to three preemptions (a run of `communicate` up to two); `--cfg shuttle` draws many from
//! larger models. Each model names the races it is about, and `cargo xtask twins` plants a bug for each and expects that the model
//! fails.
//!
//! What is not modelled: memory weaker than a mutex (the driver has no atomics), `std::thread::park` in `Wait::wait`, and
//! what the backends do beneath the seam, the bell that calls back a thread which blocks on a pipe included. Of children there are
//! the two tables that threads share (`reaping`), who waits for an end (`exits`), the exit against the end of an output (`communicate`) and a
//! thread that blocks on both outputs (`outputs`); the system calls are the fault loop's.
#![allow(clippy::unwrap_used, reason = "a model states its expectations")]
#![allow(
    dead_code,
    reason = "each checker uses its own part of what they share"
)]

#[cfg(loom)]
mod answers;
#[cfg(loom)]
mod communicate;
#[cfg(loom)]
mod exits;
mod harness;
mod hearing;
#[cfg(loom)]
mod joining;
mod kernel;
#[cfg(shuttle)]
mod large;
mod manner;
#[cfg(loom)]
mod observers;
#[cfg(loom)]
mod outputs;
#[cfg(loom)]
mod queue;
#[cfg(loom)]
mod reactors;
#[cfg(loom)]
mod reads;
#[cfg(all(loom, unix))]
mod reaping;
#[cfg(loom)]
mod slots;
mod state;
#[cfg(loom)]
mod tees;
#[cfg(loom)]
mod transfers;
#[cfg(loom)]
mod waiting;
