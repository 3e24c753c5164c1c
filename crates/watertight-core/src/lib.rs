//! The deciding half of watertight: where every byte of a pipe is, and what may happen to it next.
//!
//! Nothing here performs I/O, reads a clock, takes a lock or starts a thread. A caller (the driver in the crate
//! `watertight`) feeds in plain verbs and `handle_*` calls and carries out what `poll_*` answers, so the same code runs
//! against a real kernel, a simulated one, and a model checker.
//!
//! This crate makes no promise of stability before 1.0; use the crate `watertight`.
#![no_std]
#![forbid(unsafe_code)]
#![warn(
    clippy::arbitrary_source_item_ordering,
    clippy::print_stderr,
    clippy::print_stdout
)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod backend;
mod closing;
pub mod error;
pub mod ledger;
pub mod messages;
pub mod op;
pub mod phase;
pub mod queue;
pub mod read;
#[cfg(feature = "std")]
mod std_io;
mod until_read;
pub mod write;

pub use backend::Backend;
pub use error::{Cause, Error, ErrorKind, OsCode, Verb};
pub use ledger::Ledger;
pub use messages::{CutMessage, MessageReport};
pub use op::{
    Action, Cancelled, Chunks, Class, Completion, Key, Moment, MoveNow, MoveScope, Moved, Op, OpId,
    OpKind, Outcome, ReadNow, Submitted, WriteNow,
};
pub use phase::{ReadEvent, ReadPhase, WriteEvent, WritePhase};
pub use read::{Lent, ReadHalf};
pub use write::{WriteHalf, WriteLimits};
