//! The numbers of the standard streams, in a process that has closed one of them: held, so that nothing is made there for a child.
//!
//! A new descriptor gets the lowest free number. std makes a child's pipes, and the one by which the child says that it cannot run its
//! program, in the parent, and moves the streams to 0, 1 and 2 in the child: an end that is at its number already stays
//! close-on-exec, and one that is at another stream's is overwritten before its turn.

use super::classify::Call;
use crate::fault::fallible;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_getfd;
use rustix::stdio::{stderr, stdin, stdout};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

/// Has the numbers 0 to 2 taken, for good: whichever of them is free gets the null device, close-on-exec and opened so that neither a
/// read of 0 nor a write to 1 or 2 succeeds (EBADF, as before). A child that is to inherit such a stream finds it closed, as before.
///
/// They are not given back: by then somebody else may have put a stream of theirs at the number.
///
/// # Errors
/// The null device cannot be opened.
pub fn hold_standard_numbers() -> io::Result<()> {
    const AT_ONCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let streams = [stdin(), stdout(), stderr()];
    let mut polled = streams.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::empty()));
    // One call for all of them, which nearly always says that nothing is the matter.
    if poll(&mut polled, Some(&AT_ONCE)) == Ok(0) {
        return Ok(());
    }
    let refusing = [OFlags::WRONLY, OFlags::RDONLY, OFlags::RDONLY];
    for (stream, access) in streams.into_iter().zip(refusing) {
        // F_GETFD fails for what is not open, and for nothing else.
        if fcntl_getfd(stream).is_err() {
            take(stream.as_raw_fd(), access)?;
        }
    }
    Ok(())
}

/// open: this number, for those below it are taken. If another thread was quicker, it is taken as well.
fn take(number: RawFd, access: OFlags) -> io::Result<()> {
    let null = fallible("open (standard number)", Call::Open, || {
        rustix::fs::open("/dev/null", access | OFlags::CLOEXEC, Mode::empty())
    })?;
    if null.as_raw_fd() == number {
        // It stays open for the life of the process.
        let _ = null.into_raw_fd();
    }
    Ok(())
}

/// close, for a test of what comes of a process that has closed its standard streams.
#[cfg(feature = "fault")]
pub fn close_for_a_test(number: RawFd) {
    // SAFETY: no memory is involved; the test answers for it that nobody in its process has this descriptor in a handle of theirs.
    unsafe { libc::close(number) };
}
