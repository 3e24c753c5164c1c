//! Unix: readiness by epoll or kqueue, made into completions.

#[cfg(feature = "fault")]
mod allowed;

mod alone;
mod armed;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod bell;
mod calls;
pub mod classify;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod direct;
mod duplicating;
mod facts;
mod fork;
mod handle;
mod hearing;
mod helper;
mod holes;
mod inherited;
#[cfg(any(target_os = "android", target_os = "linux"))]
#[path = "linux.rs"]
mod kernel;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
#[path = "other.rs"]
mod kernel;
#[cfg(test)]
mod ladder_tests;
mod moving;
mod passing;
mod pipe;
mod poller;
mod process;
mod process_end;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod processors;
mod pseudo_terminal;
#[cfg(any(target_os = "android", target_os = "linux"))]
#[path = "epoll.rs"]
mod readiness;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
#[path = "kqueue.rs"]
mod readiness;
mod rung;
mod sigpipe;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod socket_diag;
mod standard_numbers;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod start;
mod unread;
mod until_read;

#[cfg(feature = "fault")]
pub use allowed::allowed;
pub use armed::armed_pair;
#[cfg(any(target_os = "android", target_os = "linux"))]
pub use bell::Bell;
pub use facts::{block_device_bytes, is_signal_ignored, look_at};
#[cfg(feature = "fault")]
pub use fork::{end_of_a_test, fork_for_a_test};
pub use handle::Handle;
pub use hearing::{
    ending_signals, is_any_signal_noted, note_signals, take_noted_signals, unblock_signals,
    without_signals,
};
pub use inherited::{inherited, was_closed_at_start};
pub use pipe::{duplicate, output_pipe, plain_pipe};
pub use poller::Native;
pub use process::{
    Cgroup, Descriptors, Prepared, Process, Reaping, Waiting, holders_of,
    is_in_terminals_foreground, own_group,
};
#[cfg(any(target_os = "android", target_os = "linux"))]
pub use process::{TreeMember, block_signals, has_position, may_share_position, orphans};
pub use process_end::{IN_FLIGHT_IS_IN_DOUBT, at_exit, note_thread, say};
pub use pseudo_terminal::{open_terminal, resize_terminal};
#[cfg(feature = "fault")]
pub use sigpipe::sigpipe_to_default;
pub use sigpipe::{WriteSignalsHeld, quiet_thread};
#[cfg(feature = "fault")]
pub use standard_numbers::close_for_a_test;
pub use standard_numbers::hold_standard_numbers;
pub use unread::{unread_by_peer, unread_in_pipe};

impl crate::fault::Code for rustix::io::Errno {
    fn of(code: watertight_core::OsCode) -> Self {
        Self::from_raw_os_error(code.0)
    }
}

pub(crate) fn exact_timeouts() {
    kernel::exact_timeouts();
}

/// What the system calls a handle.
pub type OsHandle = std::os::fd::OwnedFd;
/// What the system calls a handle, borrowed.
pub type OsHandleRef<'a> = std::os::fd::BorrowedFd<'a>;
