//! Whether a child lives, asked without reaping it.

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

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
