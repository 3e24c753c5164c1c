//! Making pipes.

use super::classify::{Call, classified};
use super::handle::Handle;
use super::kernel;
use super::poller::Native;
use crate::step::{Direction, Step, StepError, step};
use std::os::fd::OwnedFd;

/// pipe2: a pipe for a child's output, both ends as everybody expects them and close-on-exec: our reading end, and the child's.
///
/// # Errors
/// Out of descriptors. Nothing is left behind.
pub fn output_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (from, into) = std::io::pipe()?;
    Ok((from.into(), into.into()))
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
}
