//! Whether a child lives and how it ended, asked without reaping it.

use crate::process::Reaped;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// What a wait status has when a core file was written (`WCOREFLAG`).
const CORE_WRITTEN: i32 = 0x80;

/// What a child is to its parent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Life {
    /// It is over and not reaped: its number is still its own.
    Ended,
    /// It is over, and somebody else has reaped it: its number may be anybody's.
    Gone,
    /// It runs, or is stopped.
    Running,
}

/// waitid, which leaves the child as it is: what the system says of it.
pub(super) fn asked(id: WaitId<'_>) -> Result<Life, Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(id, options) {
        Ok(Some(_)) => Ok(Life::Ended),
        Ok(None) => Ok(Life::Running),
        Err(Errno::CHILD) => Ok(Life::Gone),
        Err(code) => Err(code),
    }
}

/// As [`asked`]. With a number or a descriptor that was good once the system has no other failure; if it had one, the child
/// would be out of our reach, which is what `Gone` says.
pub(super) fn of(id: WaitId<'_>) -> Life {
    asked(id).unwrap_or(Life::Gone)
}

/// What became of a child, without reaping it.
pub(super) fn peek(id: WaitId<'_>) -> Reaped {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(id, options) {
        Ok(None) => Reaped::Running,
        Ok(Some(said)) => status(said).map_or(Reaped::Unknown, Reaped::Ended),
        // ECHILD: somebody else has reaped it. With a good number or descriptor there is no other failure.
        Err(_) => Reaped::Unknown,
    }
}

/// The wait status that waitid takes apart, put together again.
pub(super) fn status(said: WaitIdStatus) -> Option<ExitStatus> {
    let raw = if let Some(code) = said.exit_status() {
        (code & 0xff) << 8
    } else {
        let core = if said.dumped() { CORE_WRITTEN } else { 0 };
        said.terminating_signal()? | core
    };
    Some(ExitStatus::from_raw(raw))
}
