//! Descriptors this process was started with.

use super::OsHandle;
use super::classify::{Call, classified};
use super::kernel;
use crate::fault::fallible;
use crate::step::{Direction, Step, StepError, step};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::Write;
use watertight_core::{Class, OsCode};

/// The standard streams' numbers end here; what has them is replaced, what lies behind is only duplicated.
const STANDARD_STREAMS: u32 = 3;
/// Our duplicate is none of the standard streams' numbers.
const DUPLICATE_MIN: i32 = 3;

/// A descriptor of our own, close-on-exec, for the inherited one.
///
/// A standard stream's number is pointed at the null device, so that the new descriptor is the only one and ending it ends
/// the stream. Whatever has a higher number is nobody's we know: it is asked of the kernel by number, as `/proc/self/fd`
/// would be, and left as it is, flags and all; children get it as they would with env(1).
///
/// # Errors
/// It is not open, or there are too many descriptors.
pub fn inherited(number: u32, direction: Direction) -> Result<OsHandle, StepError> {
    let ours = step(Step::Duplicate, || {
        if kernel::was_closed(number) {
            return Err(classified(Call::Make, Errno::BADF));
        }
        duplicate(number, direction).map_err(|code| classified(Call::Make, code))
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
            replace(number, direction).map_err(|code| classified(Call::Open, code))
        })?;
    }
    Ok(ours)
}

/// Whether the standard stream of this number was closed when the process started: std has put the null device there since, where every
/// write succeeds. Known on Linux; elsewhere it is never said.
#[must_use]
pub fn was_closed_at_start(number: u32) -> bool {
    kernel::was_closed(number)
}

/// fcntl F_DUPFD_CLOEXEC of a standard stream; of other numbers as the system has it.
fn duplicate(number: u32, direction: Direction) -> Result<OsHandle, Errno> {
    let standard = match number {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        2 => rustix::stdio::stderr(),
        _ => {
            let raw = i32::try_from(number).map_err(|_| Errno::BADF)?;
            return kernel::duplicate_by_number(raw, direction);
        }
    };
    fallible("F_DUPFD_CLOEXEC", Call::Make, || {
        rustix::io::fcntl_dupfd_cloexec(standard, DUPLICATE_MIN)
    })
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
    fallible("dup2", Call::Open, || match number {
        0 => rustix::stdio::dup2_stdin(&null),
        1 => rustix::stdio::dup2_stdout(&null),
        _ => rustix::stdio::dup2_stderr(&null),
    })
}
