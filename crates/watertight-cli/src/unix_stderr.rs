//! What this program says on Unix, to whoever has to take it: written only when poll says that there is room. Standard error is written by
//! number, past std's lock.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The most that is written at once. A pipe for which poll says that there is room takes this much without blocking, and does
/// not mix it with what others write.
pub(crate) const PIECE_BYTES_MAX: usize = rustix::pipe::PIPE_BUF;

/// How long to look away where poll says that there is room, and write says that there is none.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// For pwritev2: the position is the description's own, if it has one.
#[cfg(target_os = "linux")]
const HERE: u64 = u64::MAX;

/// Writes to standard error. What others have in the same pipe may fill it after poll: then a write in blocking mode blocks, and so may a
/// terminal.
pub(crate) fn write_stderr(text: &[u8], within: Duration) -> io::Result<usize> {
    write_once_ready(rustix::stdio::stderr(), text, within)
}

/// Writes to what `open_to_write` has opened, which is in non-blocking mode if it is no file.
pub(crate) fn write_within(file: &File, text: &[u8], within: Duration) -> io::Result<usize> {
    write_once_ready(file.as_fd(), text, within)
}

/// poll, then write. In non-blocking mode, too, room is waited for; `TimedOut` after so long.
fn write_once_ready(to: BorrowedFd<'_>, text: &[u8], within: Duration) -> io::Result<usize> {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&to, PollFlags::OUT)];
        match poll(&mut ready, Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::INTR) => continue,
            // What poll cannot wait for is written to all the same, and write says what is wrong.
            Ok(_) | Err(_) => {}
        }
        match rustix::io::write(to, text) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < end => std::thread::park_timeout(LOOK_AGAIN),
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
            Ok(taken) => return Ok(taken),
        }
    }
}

/// pwritev2, RWF_NOWAIT: writes what goes at once, and says how much that was. None: somebody has to wait for it, or the system does
/// not offer that for what standard error is.
#[cfg(target_os = "linux")]
pub(crate) fn write_stderr_at_once(text: &[u8]) -> Option<usize> {
    use rustix::io::{ReadWriteFlags, pwritev2};
    let text = [io::IoSlice::new(text)];
    let written = pwritev2(rustix::stdio::stderr(), &text, HERE, ReadWriteFlags::NOWAIT);
    written.ok().filter(|taken| *taken > 0)
}

/// Nothing: here every write may wait.
#[cfg(not(target_os = "linux"))]
pub(crate) fn write_stderr_at_once(_: &[u8]) -> Option<usize> {
    None
}

/// How many bytes lie unread in the pipe that standard error is.
pub(crate) fn unread_of_stderr() -> Option<u64> {
    unread_in(rustix::stdio::stderr())
}

/// How many bytes lie unread in the pipe or FIFO that this is.
pub(crate) fn unread_of(file: &File) -> Option<u64> {
    unread_in(file.as_fd())
}

/// fstat, ioctl FIONREAD: `None` if it is no pipe, or it is not known.
fn unread_in(pipe: BorrowedFd<'_>) -> Option<u64> {
    let mode = rustix::fs::fstat(pipe).ok()?.st_mode;
    if !FileType::from_raw_mode(mode).is_fifo() {
        return None;
    }
    rustix::io::ioctl_fionread(pipe).ok()
}
