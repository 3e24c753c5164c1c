//! Making pipes, and what a child is given of ours; taking over our ends of a child's pipes.

use super::OsHandle;
use super::classify::{Call, classified};
use super::handle::Handle;
use super::kernel;
use super::poller::Native;
use crate::fault::fallible;
use crate::step::{Direction, Refused, Step, StepError, step};
use std::os::fd::OwnedFd;

/// pipe2: a pipe as everybody expects one, both ends close-on-exec: the reading end and the writing end. For a child, or between two.
///
/// # Errors
/// Out of descriptors. Nothing is left behind.
pub fn plain_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (from, into) = fallible("pipe2 (child)", Call::Make, std::io::pipe)?;
    Ok((from.into(), into.into()))
}

/// pipe2: a pipe for a child's output, which is a plain one here: our reading end, and the child's.
///
/// # Errors
/// As [`plain_pipe`].
pub fn output_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    plain_pipe()
}

/// fcntl F_DUPFD_CLOEXEC: a second descriptor of what a child is given as its stream.
///
/// # Errors
/// Out of descriptors.
pub fn duplicate(handle: &OsHandle) -> std::io::Result<OsHandle> {
    fallible("F_DUPFD_CLOEXEC (stream)", Call::Make, || {
        handle.try_clone()
    })
}

impl Native {
    /// pipe2: a new anonymous pipe, close-on-exec, as (reading end, writing end).
    ///
    /// # Errors
    /// Out of descriptors. Nothing is left behind.
    pub fn pipe(&self) -> Result<(Handle, Handle), StepError> {
        let (from, into) = step(Step::CreatePipe, || {
            kernel::pipe().map_err(|code| classified(Call::Make, code))
        })?;
        Ok((
            self.own_end(from, Direction::Read)?,
            self.own_end(into, Direction::Write)?,
        ))
    }

    /// As [`adopt_unshared`](Self::adopt_unshared), for our end of a pipe that std or this crate has made for a child: it is known what
    /// it is, so the system is asked nothing where its reads and writes can be told not to wait.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_piped(&self, fd: OsHandle, direction: Direction) -> Result<Handle, Refused> {
        match self.key() {
            _ if !self.features.nowait || kernel::own_pipes_are_private() => {
                self.adopt_unshared(fd, direction)
            }
            Ok(key) => Ok(Handle::own(fd, direction, self.features, key)),
            Err(error) => Err(Refused { error, handle: fd }),
        }
    }

    /// An end of a pipe of our own; the ladder is needed only on a kernel without the per-call flags.
    fn own_end(&self, fd: OwnedFd, direction: Direction) -> Result<Handle, StepError> {
        if self.features.nowait || kernel::own_pipes_are_private() {
            return Ok(Handle::own(fd, direction, self.features, self.key()?));
        }
        self.adopt(fd, direction).map_err(|refused| refused.error)
    }
}
