//! The same functions as `linux.rs` for macOS, the BSDs and illumos, with what POSIX has. Checked by the compiler here,
//! not run on those systems by the project's own machine (the platform table in the README says so).

use super::classify::Call;
use super::handle::Kind;
use super::sigpipe::without_sigpipe;
use crate::Direction;
use crate::fault::fallible;
use rustix::event::PollFlags;
use rustix::fs::{OFlags, Stat};
#[cfg(target_vendor = "apple")]
use rustix::io::FdFlags;
use rustix::io::{Errno, IoSlice};
use rustix::net::{RecvFlags, SendFlags};
#[cfg(not(target_vendor = "apple"))]
use rustix::pipe::PipeFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use watertight_core::{Class, OsCode};

/// What this kernel can. There is nothing to try.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    /// Never: there is no per-call flag for pipes.
    pub(super) nowait: bool,
}

#[cfg(test)]
impl Features {
    /// There is one kind.
    pub(super) fn all_below(here: Self) -> Vec<Self> {
        vec![here]
    }
}

/// Nothing to try.
pub(super) fn probe() -> Result<Features, Errno> {
    Ok(Features::default())
}

/// open of `/dev/fd/N`, which duplicates the descriptor on these systems.
pub(super) fn duplicate_by_number(number: i32, direction: Direction) -> Result<OwnedFd, Errno> {
    let access = match direction {
        Direction::Read => OFlags::RDONLY,
        Direction::Write => OFlags::WRONLY,
    };
    let path = format!("/dev/fd/{number}");
    let flags = access | OFlags::CLOEXEC | OFlags::NOCTTY;
    fallible("open", Call::Open, || {
        rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
    })
}

/// pipe2, close-on-exec and O_NONBLOCK: both descriptions are ours alone until they are given away.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let ends = fallible("pipe2", Call::Make, || {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
    })?;
    silence(ends.0.as_fd(), true)?;
    silence(ends.1.as_fd(), true)?;
    Ok(ends)
}

/// pipe, then close-on-exec and O_NONBLOCK: both descriptions are ours alone until they are given away. A child that another
/// thread starts in between gets them; this system has no call that does both.
#[cfg(target_vendor = "apple")]
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let ends = fallible("pipe", Call::Make, rustix::pipe::pipe)?;
    for end in [&ends.0, &ends.1] {
        fallible("F_SETFD", Call::Make, || {
            rustix::io::fcntl_setfd(end, FdFlags::CLOEXEC)
        })?;
        let flags = fallible("F_GETFL", Call::Make, || rustix::fs::fcntl_getfl(end))?;
        fallible("F_SETFL", Call::Make, || {
            rustix::fs::fcntl_setfl(end, flags | OFlags::NONBLOCK)
        })?;
        silence(end.as_fd(), true)?;
    }
    Ok(ends)
}

/// fcntl F_SETNOSIGPIPE, on a description that is ours alone: no write to it raises SIGPIPE. These systems send the signal to
/// the process, where a thread that blocks it only hands it to another one. Elsewhere it goes to the thread that writes.
#[cfg(any(target_os = "netbsd", target_vendor = "apple"))]
pub(super) fn silence(fd: BorrowedFd<'_>, is_silent: bool) -> Result<(), Errno> {
    fallible("F_SETNOSIGPIPE", Call::Make, || {
        super::sigpipe::silence(fd, is_silent)
    })
}

/// The signal goes to the thread that writes, and that thread blocks it.
#[cfg(not(any(target_os = "netbsd", target_vendor = "apple")))]
pub(super) fn silence(_fd: BorrowedFd<'_>, _is_silent: bool) -> Result<(), Errno> {
    Ok(())
}

/// These systems have no mode that an end of ours cannot have.
pub(super) fn refuse_mode(_: OFlags, _: Kind, _: Direction) -> Result<(), (Class, Option<OsCode>)> {
    Ok(())
}

/// Our own new pipes are in non-blocking mode, which nobody shares.
pub(super) const fn own_pipes_are_private() -> bool {
    true
}

/// writev on a private, non-blocking description.
pub(super) fn write(
    fd: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    _nowait: bool,
    _features: Features,
) -> Result<usize, Errno> {
    without_sigpipe(|| fallible("writev", Call::Write, || rustix::io::writev(fd, slices)))
}

/// read on a private, non-blocking description.
pub(super) fn read(fd: BorrowedFd<'_>, buf: &mut [u8], _nowait: bool) -> Result<usize, Errno> {
    fallible("read", Call::Read, || rustix::io::read(fd, buf))
}

/// These systems have no splice.
pub(super) fn splice(
    _: (BorrowedFd<'_>, Kind),
    _: (BorrowedFd<'_>, Kind),
    _: usize,
) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// These systems have no tee.
pub(super) const HAS_TEE: bool = false;

/// Not used on these systems.
pub(super) fn tee(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: usize) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// Not used on these systems.
pub(super) fn copy_file_range(
    _: (BorrowedFd<'_>, Option<u64>),
    _: BorrowedFd<'_>,
    _: usize,
) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// Nothing is asked about holes on these systems: no bytes go between files inside the kernel.
pub(super) fn seek_data(_: BorrowedFd<'_>, _: u64) -> Result<u64, Errno> {
    Err(Errno::NOSYS)
}

/// Not used on these systems.
pub(super) fn seek_hole(_: BorrowedFd<'_>, _: u64) -> Result<u64, Errno> {
    Err(Errno::NOSYS)
}

/// Not used on these systems.
pub(super) fn set_size(_: BorrowedFd<'_>, _: u64) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Not used on these systems.
pub(super) fn sendfile(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: usize) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// sendmsg with MSG_DONTWAIT, and MSG_NOSIGNAL where the system has it; else the signal is blocked.
pub(super) fn send(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let send = |flags| {
        fallible("sendmsg", Call::Write, || {
            rustix::net::sendmsg(fd, slices, &mut Default::default(), flags)
        })
    };
    #[cfg(not(target_vendor = "apple"))]
    return send(SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    #[cfg(target_vendor = "apple")]
    without_sigpipe(|| send(SendFlags::DONTWAIT))
}

/// These systems end timeouts when they are over.
pub(super) fn exact_timeouts() {}

/// Not offered: these systems have no eventfd to call the thread back with.
pub(super) fn block_until(
    _fd: BorrowedFd<'_>,
    _what: PollFlags,
    _timeout: Option<Duration>,
) -> bool {
    false
}

/// As `block_until`.
pub(super) fn block_until_any(
    _fds: &[BorrowedFd<'_>],
    _what: PollFlags,
    _timeout: Option<Duration>,
) -> bool {
    false
}

/// Not known here.
pub(super) const fn was_connected(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// Never: where no thread blocks by itself, none spins before.
pub(super) const fn may_spin() -> bool {
    false
}

/// recv with MSG_DONTWAIT.
pub(super) fn receive(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, Errno> {
    fallible("recv", Call::Read, || {
        rustix::net::recv(fd, buf, RecvFlags::DONTWAIT).map(|(n, _)| n)
    })
}

/// There is no per-call flag that an anonymous pipe would allow and a FIFO not.
pub(super) fn is_anonymous_pipe(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// Nothing is moved inside the kernel on these systems, so it makes no difference.
pub(super) fn is_memory(_: &Stat) -> bool {
    false
}

/// Nothing is opened again on these systems, so it makes no difference.
pub(super) fn is_terminal_master(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// posix_openpt, and open of the other end's name: a new pseudo-terminal's leading end and its other one, close-on-exec, and
/// nobody's controlling terminal. A child that another thread starts meanwhile may get the leading end.
#[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
pub(super) fn terminal() -> Result<(OwnedFd, OwnedFd), Errno> {
    use rustix::pty::OpenptFlags;
    let leading = fallible("openpt", Call::Make, || {
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)
    })?;
    fallible("F_SETFD", Call::Make, || {
        rustix::io::fcntl_setfd(&leading, rustix::io::FdFlags::CLOEXEC)
    })?;
    fallible("grantpt", Call::Make, || rustix::pty::grantpt(&leading))?;
    fallible("unlockpt", Call::Make, || rustix::pty::unlockpt(&leading))?;
    let following = fallible("open (terminal)", Call::Open, || {
        let name = rustix::pty::ptsname(&leading, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open(&name, flags, rustix::fs::Mode::empty())
    })?;
    Ok((leading, following))
}

/// No way is known here.
#[cfg(not(any(target_os = "freebsd", target_vendor = "apple")))]
pub(super) fn terminal() -> Result<(OwnedFd, OwnedFd), Errno> {
    Err(Errno::NOTSUP)
}

/// A read of a file that was refused: nothing is known here that would help.
pub(super) fn read_refused(
    _fd: BorrowedFd<'_>,
    _bytes_max: usize,
) -> Option<Result<Vec<u8>, Errno>> {
    None
}

/// A write to a file that was refused: nothing is known here that would help.
pub(super) fn write_refused(_fd: BorrowedFd<'_>, _data: &[u8]) -> Option<Result<usize, Errno>> {
    None
}

/// Never needed, for no call takes a flag here.
pub(super) fn read_around(_fd: BorrowedFd<'_>, _buf: &mut [u8]) -> Result<usize, Errno> {
    Err(Errno::OPNOTSUPP)
}

/// Never needed, for no call takes a flag here.
pub(super) fn write_around(_fd: BorrowedFd<'_>, _slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    Err(Errno::OPNOTSUPP)
}

/// /dev/fd/N duplicates on these systems: it does not make a description of our own.
pub(super) fn reopen(_fd: BorrowedFd<'_>, _direction: Direction) -> Result<OwnedFd, Errno> {
    Err(Errno::NOTSUP)
}

/// No call here tells how much of a pipe's bytes the peer has not read, so nobody is told that it is known.
pub(super) fn unread(_fd: BorrowedFd<'_>, _kind: Kind) -> Option<Result<u64, Errno>> {
    None
}

/// Not known here.
pub(super) fn unread_by_peer(_inode: u32) -> Option<u64> {
    None
}

/// Not known here: a stream that was closed at the start looks like the null device.
pub(super) fn was_closed(_number: u32) -> bool {
    false
}

/// Not to be asked for on these systems.
pub(super) fn capacity(_fd: BorrowedFd<'_>) -> Option<u64> {
    None
}

/// Not to be changed on these systems.
pub(super) fn set_capacity(_fd: BorrowedFd<'_>, _bytes: u64) -> Option<u64> {
    None
}

/// The calling thread's errno.
pub(super) fn last_errno() -> Errno {
    let code = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(code.unwrap_or(libc::EIO))
}
