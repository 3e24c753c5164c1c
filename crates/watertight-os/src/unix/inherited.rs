//! Descriptors this process was started with.

use super::OsHandle;
use super::classify::{Call, told};
use super::kernel::{self, last_errno};
use crate::fault::fallible;
use crate::step::{Direction, Step, StepError, step};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use std::io::Write;
use std::os::fd::{BorrowedFd, RawFd};
use watertight_core::{Class, OsCode};

/// The standard streams' numbers end here; what has them is replaced, what lies behind is only duplicated.
const STANDARD_STREAMS: u32 = 3;

/// fcntl F_DUPFD_CLOEXEC: a descriptor of our own for the inherited one.
///
/// A standard stream's number is pointed at the null device, so that the new descriptor is the only one and ending it ends
/// the stream; a higher number stays open (nobody can know who uses it) but is marked close-on-exec, so that no child gets it.
///
/// # Errors
/// It is not open, or there are too many descriptors.
pub fn inherited(number: u32, direction: Direction) -> Result<OsHandle, StepError> {
    let ours = step(Step::Duplicate, || {
        let raw = RawFd::try_from(number)
            .map_err(|_| (Class::Argument, Some(OsCode(Errno::BADF.raw_os_error()))))?;
        if kernel::was_closed(number) {
            return Err(told(Call::Make, Errno::BADF));
        }
        duplicate(raw).map_err(|code| told(Call::Make, code))
    })?;
    if number == 1 {
        // What `print!` holds belongs before what we write.
        step(Step::FlushStandardOutput, || {
            std::io::stdout()
                .flush()
                .map_err(|error| (Class::Io, error.raw_os_error().map(OsCode)))
        })?;
    }
    if number < STANDARD_STREAMS {
        step(Step::Reopen, || {
            replace(number, direction).map_err(|code| told(Call::Open, code))
        })?;
    }
    Ok(ours)
}

fn duplicate(raw: RawFd) -> Result<OsHandle, Errno> {
    // SAFETY: the number is only asked about and duplicated within this call, while nobody closes it: it was open when the
    // process started, and a caller who names it says that it is nobody else's. If it is not open, the kernel says EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(raw) };
    let ours = fallible("F_DUPFD_CLOEXEC", Call::Make, || {
        rustix::io::fcntl_dupfd_cloexec(fd, 3)
    })?;
    if raw >= 3 {
        fallible("F_SETFD", Call::Make, || {
            rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)
        })?;
    }
    Ok(ours)
}

/// dup2 of /dev/null onto a standard stream's number. Not dup3 with O_CLOEXEC: children expect the number to be open.
fn replace(number: u32, direction: Direction) -> Result<(), Errno> {
    let access = match direction {
        Direction::Read => OFlags::RDONLY,
        Direction::Write => OFlags::WRONLY,
    };
    let null = fallible("open", Call::Open, || {
        rustix::fs::open("/dev/null", access | OFlags::CLOEXEC, Mode::empty())
    })?;
    let target = RawFd::try_from(number).map_err(|_| Errno::BADF)?;
    fallible("dup2", Call::Open, || {
        // SAFETY: 0, 1 and 2 are owned by no OwnedFd (std keeps them open for the whole life of the process and only borrows
        // them by number), so replacing what they refer to invalidates nobody's descriptor.
        let status = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), target) };
        if status < 0 {
            Err(last_errno())
        } else {
            Ok(())
        }
    })
}
