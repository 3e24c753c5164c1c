//! Windows: overlapped operations answered through one completion port; threads only for handles that can only block.

#[cfg(feature = "fault")]
mod allowed;
#[allow(
    unreachable_pub,
    reason = "on other systems it is public, for the simulator"
)]
mod answer;
mod census;
pub mod classify;
mod facts;
mod handle;
mod helper;
mod inherited;
mod lock;
mod operation;
mod pipe;
mod port;
mod process;
mod process_end;
mod pseudo_terminal;
mod retry;
mod sys;

#[cfg(feature = "fault")]
pub use allowed::allowed;
#[cfg(feature = "fault")]
pub use facts::let_everybody_in_for_a_test;
pub use facts::{file_security, has_extended_attributes, has_further_streams};
pub use handle::{Handle, armed_pair, unread_by_peer, unread_in_pipe};
pub use inherited::{inherited, keep_standard_streams_from_children};
pub use pipe::{duplicate, output_pipe, plain_pipe};
pub use port::Native;
pub use process::{Process, is_in_terminals_foreground};
pub use process_end::{IN_FLIGHT_IS_IN_DOUBT, at_exit, note_thread, say};
pub use pseudo_terminal::{open_terminal, resize_terminal};

/// What the system calls a handle.
pub type OsHandle = std::os::windows::io::OwnedHandle;
/// What the system calls a handle, borrowed.
pub type OsHandleRef<'a> = std::os::windows::io::BorrowedHandle<'a>;
