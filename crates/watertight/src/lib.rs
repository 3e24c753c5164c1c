//! Asynchronous pipe I/O that accounts for every byte: nothing lost silently, nothing leaked, nothing half-built, no error
//! swallowed, no completion reported early.
//!
//! ```
//! use std::time::Duration;
//!
//! let (reader, writer) = watertight::pipe()?;
//! writer.send(b"every byte has its place").wait()?; // or .await
//! writer.until_transferred().within(Duration::from_secs(1)).wait()?;
//!
//! let mut buf = [0; 5];
//! reader.receive(&mut buf).wait()?;
//! assert_eq!(&buf, b"every");
//!
//! let receipt = writer.finish().wait()?;
//! assert_eq!(receipt.ledger().transferred(), 24);
//! # Ok::<(), watertight::Error>(())
//! ```
//!
//! Every pipe has a [`Ledger`]: `accepted == queued + in_flight + transferred + discarded + in_doubt`, at every moment.
//! Every ending (finish, abort, failure, deadline, drop) yields it, with the bytes that did not get through: a [`Receipt`].
//!
//! One value for all waiting: what may have to wait returns a [`Wait`], which is a future, a blocking `.wait()`, and
//! either of them under a deadline. No runtime is needed and any will do; the traits of `std::io`, `futures-io` (feature
//! `futures`) and tokio (feature `tokio`) are there too.
//!
//! # What it does not do
//!
//! * It does not know whether the peer *understood* what it read; [`PipeWriter::until_read`] ends where the kernel does.
//! * It does not make a cancelled Windows write exact: that one operation (at most 64 KiB) is reported as in doubt.
//! * It does not keep bytes over a crash of the process, and does not resend them: the receipt hands them back.
//! * It does not work in a forked child: a pipe belongs to the process that made it.
//!
//! # Common deadlocks
//!
//! * A child waits for the end of its input while you hold its writer: `finish` it.
//! * You write all of a child's input before you read its output, and it does the same: read and write at once.
//! * You wait for the end of a pipe whose writing end a grandchild, or you yourself, still hold.
#![forbid(unsafe_code)]
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod adapt;
mod alarm;
mod child;
mod child_ends;
mod command;
mod communicate;
mod driver;
mod enlarging;
mod exit;
mod fairness;
mod handle;
mod handle_state;
mod joined;
mod line;
mod lines;
mod lingering;
mod loss;
mod message;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod observer;
mod options;
mod passage;
mod pipeline;
mod pump_read;
mod pump_write;
mod reader;
mod receipt;
mod refused;
mod settle;
mod sync;
mod tee;
mod terminal;
mod timers;
mod tokio_reactor;
mod transfer;
mod unread;
mod wait;
mod writer;
mod yielding;

/// Re-exported: what [`PipeWriter::send_bytes`] takes and receipts hand back.
pub use bytes::Bytes;
pub use child::{Child, Exit, Terminate, WaitExit, WaitTree};
pub use command::{Command, Group, Input, Output};
pub use communicate::{
    AfterExit, AtBound, Captured, Communicate, EndRequest, EndedBy, EndedTree, Incomplete, Limits,
    Outcome, OutputStream, PipeAccount,
};
#[doc(hidden)]
pub use driver::Driver;
pub use exit::{
    EXIT_WITHIN, EXIT_WITHIN_VARIABLE, SettleOnDrop, exit, exit_within, settle_on_drop,
};
#[doc(hidden)]
pub use handle::now;
pub use handle::{
    AdoptError, CreateError, HandleError, Native, OsHandle, inherited, pipe, pipe_with,
};
pub use lines::{Line, LineEnd, Lines, ReceiveLine};
pub use lingering::LingeringBounds;
pub use loss::{Loss, LossHook, on_loss};
pub use observer::Observer;
pub use options::{OnDrop, ReaderOptions, WriterOptions};
pub use pipeline::{Pipeline, PipelineOutcome, RunPipeline};
pub use reader::{Abort, PipeReader, Receive, ReceiveToEnd};
pub use receipt::{Ending, ReadReceipt, Receipt};
pub use refused::Refused;
pub use settle::{Census, Settle, Unsettled, bound_lingering, census, settle};
pub use tee::{
    DeadDestination, SlowDestination, Tee, TeeDestination, TeeEnd, TeeError, TeeOutcome,
    TeeTransfer,
};
pub use terminal::{Terminal, TerminalWindow};
pub use transfer::{Transfer, TransferEnd, TransferError, Transferred, transfer};
#[doc(hidden)]
pub use wait::Operation;
pub use wait::Wait;
#[doc(hidden)]
pub use watertight_core::Backend;
pub use watertight_core::{
    Cause, CutMessage, Error, ErrorKind, Ledger, MessageReport, OsCode, Verb,
};
pub use watertight_os::{
    Direction, Found, RunAs, StartError, StartStep, Step, TerminalSize, TreeEnd, Usage,
    is_in_terminals_foreground, keep_standard_streams_from_children,
};
#[doc(hidden)]
pub use watertight_os::{block_device_bytes, fault, is_signal_ignored, orphans};
#[cfg(any(target_os = "android", target_os = "linux"))]
#[doc(hidden)]
pub use watertight_os::{block_signals, has_position, may_share_position};
#[cfg(unix)]
#[doc(hidden)]
pub use watertight_os::{
    ending_signals, is_any_signal_noted, look_at, note_signals, own_group, take_noted_signals,
    unblock_signals, was_closed_at_start, without_signals,
};
#[cfg(windows)]
#[doc(hidden)]
pub use watertight_os::{file_security, has_extended_attributes, has_further_streams};
pub use writer::{Finish, PipeWriter, SendMessage, UntilRead, UntilTransferred};
