//! A hostile simulated kernel for watertight's driver, and a checker that trusts nobody.
//!
//! The kernel stands behind the same seam as the real backends ([`watertight_core::Backend`]), so the real driver runs on
//! it, deterministically: one seed decides what fails, what comes late, who runs when. What a code means is decided by the
//! real backends' own tables. The checker recounts every byte from what the simulated kernel and peers saw.
#![forbid(unsafe_code)]
#![cfg(unix)]

mod actors;
pub mod backend;
mod book;
pub mod cells;
pub mod chance;
pub mod codes;
pub mod draw;
pub mod fault_loop;
pub mod faults;
pub mod kernel;
mod listener;
pub mod live;
pub mod manner;
mod moving;
mod overlapped;
pub mod peer;
pub mod pipe;
mod read_task;
mod readiness;
pub mod run;
pub mod scenarios;
pub mod script;
pub mod seeds;
#[cfg(test)]
mod tees;
mod timed;
mod transfers;
mod world;
