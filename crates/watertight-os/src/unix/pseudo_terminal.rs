//! Pseudo-terminals: making one, its size, and whether its programs have left.

use super::OsHandle;
use super::classify::Call;
use super::handle::Kind;
use super::kernel;
use crate::fault::fallible;
use crate::process::{TerminalEnds, TerminalSize};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::Winsize;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// How long to wait for the hang-up that a read's EIO says there is. It is there already, unless the question of an orderly
/// end (`until_read.rs`) has the program's end open for a moment.
const HANG_UP_WITHIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// A new pseudo-terminal of this size. It is nobody's controlling terminal yet.
///
/// # Errors
/// The system has no more of them, or no descriptors; or it has no way to make one that is known here (`ENOTSUP`). Nothing is
/// left behind.
pub fn open_terminal(size: TerminalSize) -> io::Result<TerminalEnds> {
    let (leading, following) = kernel::terminal()?;
    resize_terminal(&leading, size)?;
    Ok(TerminalEnds { leading, following })
}

/// ioctl TIOCSWINSZ: gives a terminal another size, at either of its ends. If it was another one, the system sends SIGWINCH to
/// the group in its foreground.
///
/// # Errors
/// It is no terminal.
pub fn resize_terminal(end: &OsHandle, size: TerminalSize) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    fallible("TIOCSWINSZ", Call::Query, || {
        rustix::termios::tcsetwinsize(end, size)
    })?;
    Ok(())
}

/// poll, after a read that said EIO: whether this is the leading end of a terminal that every program has left, and nothing is
/// left to be read. Then the EIO was the end of the stream.
pub(super) fn is_left(fd: &OwnedFd, kind: Kind) -> bool {
    if kind != Kind::Terminal || !kernel::is_terminal_master(fd.as_fd()) {
        return false;
    }
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    let answer = fallible("poll (left)", Call::Wait, || {
        rustix::event::poll(&mut polled, Some(&HANG_UP_WITHIN))
    });
    let seen = polled[0].revents();
    answer.is_ok() && seen.contains(PollFlags::HUP) && !seen.contains(PollFlags::IN)
}
