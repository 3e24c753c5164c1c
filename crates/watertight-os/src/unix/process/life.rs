//! Whether a child lives and how it ended, asked without reaping it.

use crate::fault::fallible;
use crate::process::Reaped;
use crate::unix::classify::Call;
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

/// waitid, which neither waits nor reaps: the child's end, if there is one.
fn look(id: WaitId<'_>) -> Result<Option<WaitIdStatus>, Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    fallible("waitid (life)", Call::Spawn, || waitid(id, options))
}

/// Whether a child lives, which is left as it is: what the system says of it.
pub(super) fn asked(id: WaitId<'_>) -> Result<Life, Errno> {
    match look(id) {
        Ok(Some(_)) => Ok(Life::Ended),
        Ok(None) => Ok(Life::Running),
        Err(Errno::CHILD) => Ok(Life::Gone),
        Err(code) => Err(code),
    }
}

/// What became of a child, which is left as it is.
pub(super) fn peek(id: WaitId<'_>) -> Result<Reaped, Errno> {
    match look(id) {
        Ok(Some(said)) => Ok(status(said).map_or(Reaped::Unknown, Reaped::Ended)),
        Ok(None) => Ok(Reaped::Running),
        // Somebody else has reaped it.
        Err(Errno::CHILD) => Ok(Reaped::Unknown),
        Err(code) => Err(code),
    }
}

/// The wait status that waitid takes apart, put together again.
fn status(said: WaitIdStatus) -> Option<ExitStatus> {
    let raw = if let Some(code) = said.exit_status() {
        (code & 0xff) << 8
    } else {
        let core = if said.dumped() { CORE_WRITTEN } else { 0 };
        said.terminating_signal()? | core
    };
    Some(ExitStatus::from_raw(raw))
}
