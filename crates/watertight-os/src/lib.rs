//! watertight's backends: what touches the kernel, and all of the unsafe code.
//!
//! [`Native`] is the backend of the system this is compiled for. Both systems have the same files with the same jobs, so
//! that a comparison of the two folders is a review:
//!
//! | job | `unix/` | `windows/` |
//! | --- | --- | --- |
//! | the backend: submit, cancel, close, wait | `poller.rs` | `port.rs` |
//! | one end of a pipe, and how it is adopted | `handle.rs` | `handle.rs` |
//! | a thread for handles that can only block | `helper.rs` | `helper.rs` |
//! | what each code means | `classify.rs` | `classify.rs` |
//! | making pipes | `pipe.rs` | `pipe.rs` |
//! | inherited standard streams | `inherited.rs` | `inherited.rs` |
//! | children: start, end, reap, their trees | `process.rs` | `process.rs` |
//! | pseudo-terminals | `pseudo_terminal.rs` | `pseudo_terminal.rs` (refused) |
//!
//! No policy lives here: when to write, how much and what a failure means for the pipe, the core decides.
//! This crate makes no promise of stability before 1.0; use the crate `watertight`.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::print_stderr, clippy::print_stdout)]

#[cfg(not(any(target_os = "android", target_os = "linux")))]
mod bell;
pub mod fault;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub mod orphans;
mod process;
mod step;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
mod tree_member;
#[cfg(unix)]
mod unix;
mod unread;
/// Windows' tables on a system that is not Windows: what each code means, and what an answer is to the core. The simulator
/// judges its Windows with them.
#[cfg(all(not(windows), feature = "tables"))]
#[path = "windows"]
pub mod windows {
    #[allow(
        dead_code,
        unreachable_pub,
        reason = "the rest of that backend is not here"
    )]
    pub mod answer;
    #[allow(dead_code, reason = "the rest of that backend is not here")]
    pub mod classify;
}
#[cfg(windows)]
mod windows;

#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub use bell::Bell;
pub use process::{
    EarlierStarts, ExitCallback, Found, Grouping, MemberWatch, Reaped, RunAs, StartError,
    StartOptions, StartStep, StdStreams, TerminalEnds, TerminalSize, TreeEnd, TreeLook, Usage,
};
pub use step::{Direction, Refused, Step, StepError};
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub use tree_member::TreeMember;
#[cfg(any(target_os = "android", target_os = "linux"))]
pub use unix::{Bell, TreeMember, block_signals, has_position, may_share_position, orphans};
#[cfg(unix)]
pub use unix::{
    Handle, IN_FLIGHT_IS_IN_DOUBT, Native, OsHandle, OsHandleRef, Process, armed_pair, at_exit,
    classify, duplicate, hold_standard_numbers, holders_of, inherited, is_in_terminals_foreground,
    note_thread, open_terminal, output_pipe, plain_pipe, resize_terminal, say, unread_by_peer,
    unread_in_pipe,
};
pub use unread::Unread;
#[cfg(windows)]
pub use windows::{
    Handle, IN_FLIGHT_IS_IN_DOUBT, Native, OsHandle, OsHandleRef, Process, armed_pair, at_exit,
    classify, duplicate, file_security, has_extended_attributes, has_further_streams, inherited,
    is_in_terminals_foreground, keep_standard_streams_from_children, note_thread, open_terminal,
    output_pipe, plain_pipe, resize_terminal, say, unread_by_peer, unread_in_pipe,
};

#[cfg(unix)]
pub use unix::{
    Cgroup, Descriptors, Prepared, WriteSignalsHeld, block_device_bytes, ending_signals,
    is_any_signal_noted, is_signal_ignored, look_at, note_signals, own_group, quiet_thread,
    take_noted_signals, unblock_signals, was_closed_at_start, without_signals,
};
/// For the models of `watertight`, and nobody else.
#[cfg(unix)]
#[doc(hidden)]
pub use unix::{Reaping, Waiting};
#[cfg(all(unix, feature = "fault"))]
pub use unix::{close_for_a_test, end_of_a_test, fork_for_a_test, sigpipe_to_default};
#[cfg(all(windows, feature = "fault"))]
pub use windows::let_everybody_in_for_a_test;

/// Prepares a thread of the library's own. Windows has no signals that could end up on it.
#[cfg(windows)]
pub fn quiet_thread() {}

/// Has the calling thread's timeouts end when they are over, and not up to 50 µs later (Linux). Threads and processes that it
/// starts have that from it.
pub fn exact_timeouts() {
    #[cfg(unix)]
    unix::exact_timeouts();
}

/// Keeps the standard streams that this process was started with from children that are not given them as streams of their own. On Unix
/// there is nothing to do: a child has its own streams at their numbers. On Windows a child gets every inheritable handle of this process, as
/// those are whenever they were redirected: so one that outlives this process keeps them open, whatever its own streams are, and whoever
/// reads them waits for it. For a program to call before its first child; in a library these handles are somebody else's.
///
/// # Errors
/// None on Unix.
#[cfg(unix)]
pub const fn keep_standard_streams_from_children() -> std::io::Result<()> {
    Ok(())
}

/// A child's streams have no numbers on Windows.
///
/// # Errors
/// None.
#[cfg(windows)]
pub const fn hold_standard_numbers() -> std::io::Result<()> {
    Ok(())
}

/// Windows has no signals.
#[cfg(windows)]
#[must_use]
pub fn is_signal_ignored(_: i32) -> bool {
    false
}

/// A disk's size is not asked for on Windows: a program reads it there in pieces of its sectors, which a pipe does not do.
#[cfg(windows)]
#[must_use]
pub fn block_device_bytes(_: OsHandleRef<'_>) -> Option<u64> {
    None
}
