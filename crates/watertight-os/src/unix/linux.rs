//! What only Linux can: calls that do not wait and raise no signal on descriptors in blocking mode (RWF_NOWAIT,
//! RWF_NOSIGNAL), private reopening, and how much of a pipe the peer has not read.

use super::classify::Call;
use super::direct;
use super::handle::{Kind, polled};
use super::sigpipe::{without_sigpipe, without_sigpipe_of_several, without_sigxfsz};
use crate::Direction;
use crate::fault::fallible;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Dev, Mode, OFlags, SeekFrom, Stat};
use rustix::io::{Errno, IoSlice, IoSliceMut, ReadWriteFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::{PipeFlags, SpliceFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use rustix::pty::OpenptFlags;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;
use watertight_core::{Class, OsCode};

/// `RWF_NOSIGNAL`, Linux 6.18 (include/uapi/linux/fs.h).
const NOSIGNAL: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x0000_0100);

/// "At the descriptor's own position" for the calls that take an offset.
const HERE: u64 = u64::MAX;

/// The file system of anonymous pipes (include/uapi/linux/magic.h).
const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// What this kernel can, found out once by trying.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    /// RWF_NOWAIT on anonymous pipes.
    pub(super) nowait: bool,
    /// RWF_NOSIGNAL.
    nosignal: bool,
}

#[cfg(test)]
impl Features {
    /// This kernel and every lesser one.
    pub(super) fn all_below(here: Self) -> Vec<Self> {
        let flags = [false, true];
        let pairs = flags
            .iter()
            .flat_map(|a| flags.iter().map(move |b| (*a, *b)));
        let all = pairs.map(|(nowait, nosignal)| Self { nowait, nosignal });
        all.filter(|one| one.nowait <= here.nowait && one.nosignal <= here.nosignal)
            .collect()
    }
}

/// Tries the flags on a pipe of its own. A failure to make one is told: the caller's pipes would fail the same way.
pub(super) fn probe() -> Result<Features, Errno> {
    let (reader, writer) = pipe()?;
    let byte = [IoSlice::new(b"?")];
    // A call that fails for another reason than its flag leaves us with a rung less, which is safe.
    let takes = |flags| {
        fallible("pwritev2 (probe)", Call::Write, || {
            rustix::io::pwritev2(&writer, &byte, HERE, flags)
        })
        .is_ok()
    };
    let nowait = takes(ReadWriteFlags::NOWAIT);
    let mut one = [0];
    let mut buf = [IoSliceMut::new(&mut one)];
    let mut gives_back = || {
        fallible("preadv2 (probe)", Call::Read, || {
            rustix::io::preadv2(&reader, &mut buf, HERE, ReadWriteFlags::NOWAIT)
        })
        .is_ok()
    };
    let back = !nowait || gives_back();
    let nosignal = takes(NOSIGNAL);
    Ok(Features {
        nowait: nowait && back,
        nosignal,
    })
}

/// pidfd_getfd of a number in this process: a duplicate, close-on-exec, of whatever has the number. Where the call is forbidden or
/// unknown, fcntl takes its place.
pub(super) fn duplicate_by_number(number: i32, _: Direction) -> Result<OwnedFd, Errno> {
    let this = rustix::process::getpid();
    let copied = fallible("pidfd_getfd", Call::Make, || {
        let this = rustix::process::pidfd_open(this, PidfdFlags::empty())?;
        // The number was free, and is ours for a moment.
        if this.as_raw_fd() == number {
            return Err(Errno::BADF);
        }
        rustix::process::pidfd_getfd(this, number, PidfdGetfdFlags::empty())
    });
    if let Err(Errno::NOSYS | Errno::PERM) = copied {
        return duplicate_unseen(number);
    }
    let ours = copied?;
    fallible("F_DUPFD_CLOEXEC", Call::Make, || {
        rustix::io::fcntl_dupfd_cloexec(&ours, 3)
    })
}

/// fcntl F_DUPFD_CLOEXEC of a number that nobody lends us, which comes to the same as pidfd_getfd. Not an open of `/proc/self/fd/N`: that
/// is another description, and a file would be written at its beginning where it was to be appended to.
fn duplicate_unseen(number: i32) -> Result<OwnedFd, Errno> {
    fallible("F_DUPFD_CLOEXEC", Call::Make, || {
        // SAFETY: this command touches no memory, changes nothing about the number, whoever has it, and says EBADF if it is not open.
        let raw = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
        if raw < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel made it for us just now; nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(raw) })
    })
}

/// pipe2, close-on-exec.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    fallible("pipe2", Call::Make, || {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
    })
}

/// What F_GETFL shows that no end of ours can have: O_PATH, which opens nothing; and a pipe's writing end in packet mode
/// (O_DIRECT), where each write is a packet, and joined messages would be one. The reading end does not show that mode.
pub(super) fn refuse_mode(
    flags: OFlags,
    kind: Kind,
    direction: Direction,
) -> Result<(), (Class, Option<OsCode>)> {
    if flags.contains(OFlags::PATH) {
        return Err((Class::Argument, Some(OsCode(Errno::BADF.raw_os_error()))));
    }
    let is_packets = kind == Kind::Pipe && flags.contains(OFlags::DIRECT);
    if is_packets && direction == Direction::Write {
        return Err((Class::Unsupported, None));
    }
    Ok(())
}

/// Whether our own new pipes are served without O_NONBLOCK.
pub(super) const fn own_pipes_are_private() -> bool {
    false
}

/// Never needed: the signal goes to the thread that writes, and that thread blocks it where no flag keeps it away.
pub(super) const fn silence(_fd: BorrowedFd<'_>, _is_silent: bool) -> Result<(), Errno> {
    Ok(())
}

/// pwritev2: writes without waiting and without a signal. `nowait` is off for a private, non-blocking reopening.
pub(super) fn write(
    fd: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    nowait: bool,
    features: Features,
) -> Result<usize, Errno> {
    let mut flags = ReadWriteFlags::empty();
    if nowait {
        flags |= ReadWriteFlags::NOWAIT;
    }
    let name = if nowait {
        "pwritev2 (NOWAIT)"
    } else {
        "pwritev2"
    };
    let write = |flags| {
        fallible(name, Call::Write, || {
            rustix::io::pwritev2(fd, slices, HERE, flags)
        })
    };
    if features.nosignal {
        return write(flags | NOSIGNAL);
    }
    without_sigpipe(|| write(flags))
}

/// preadv2: reads without waiting.
pub(super) fn read(fd: BorrowedFd<'_>, buf: &mut [u8], nowait: bool) -> Result<usize, Errno> {
    if !nowait {
        return fallible("read", Call::Read, || rustix::io::read(fd, buf));
    }
    let mut slices = [IoSliceMut::new(buf)];
    fallible("preadv2 (NOWAIT)", Call::Read, || {
        rustix::io::preadv2(fd, &mut slices, HERE, ReadWriteFlags::NOWAIT)
    })
}

/// A read of a file that was refused (EINVAL): what it brings all the same, if only O_DIRECT is in its way.
pub(super) fn read_refused(fd: BorrowedFd<'_>, bytes_max: usize) -> Option<Result<Vec<u8>, Errno>> {
    direct::read(fd, bytes_max)
}

/// A write to a file that was refused (EINVAL): how much it takes all the same, if only O_DIRECT is in its way.
pub(super) fn write_refused(fd: BorrowedFd<'_>, data: &[u8]) -> Option<Result<usize, Errno>> {
    direct::write(fd, data)
}

/// A pipe of a call's own, empty and gone with the call.
fn detour() -> Result<(OwnedFd, OwnedFd), Errno> {
    fallible("pipe2 (detour)", Call::Make, || {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
    })
}

/// splice and read: reads without waiting from a pipe that takes no flag against it and cannot be opened again.
pub(super) fn read_around(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, Errno> {
    let (from, into) = detour()?;
    let bytes = fallible("splice (detour)", Call::Read, || {
        rustix::pipe::splice(fd, None, &into, None, buf.len(), SpliceFlags::NONBLOCK)
    })?;
    let mut filled = 0;
    while filled < bytes {
        match rustix::io::read(&from, &mut buf[filled..bytes]) {
            Ok(n) => filled += n,
            // A page that the pipe was lent, and whose file cannot be read: what came before it came.
            Err(_) if filled > 0 => break,
            Err(code) => return Err(code),
        }
    }
    Ok(filled)
}

/// writev and splice: writes without waiting to such a pipe. Up to PIPE_BUF goes whole or not at all, for it is one page.
pub(super) fn write_around(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let (from, into) = detour()?;
    let bytes = rustix::io::writev(&into, slices)?;
    // What the other pipe does not take goes with this one: it is a copy.
    without_sigpipe(|| {
        fallible("splice (detour)", Call::Write, || {
            rustix::pipe::splice(&from, None, fd, None, bytes, SpliceFlags::NONBLOCK)
        })
    })
}

/// splice, which waits for no pipe: bytes go from one descriptor to another, one of them a pipe at least, and stay in the
/// kernel. It waits for a socket unless that is in non-blocking mode, whatever its flag says. No flag keeps its signals away.
pub(super) fn splice(
    (from, from_kind): (BorrowedFd<'_>, Kind),
    (into, into_kind): (BorrowedFd<'_>, Kind),
    bytes_max: usize,
) -> Result<usize, Errno> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    // A disk and a network may fail, and a pipe has neither.
    let name = if [from_kind, into_kind].contains(&Kind::File) {
        "splice (file)"
    } else if matches!(into_kind, Kind::LocalSocket | Kind::Socket) {
        "splice (socket)"
    } else {
        "splice"
    };
    let splice = || {
        fallible(name, Call::Write, || {
            rustix::pipe::splice(from, None, into, None, bytes_max, flags)
        })
    };
    match into_kind {
        Kind::File => without_sigxfsz(splice),
        Kind::LocalSocket | Kind::Socket => without_sigpipe_of_several(splice),
        Kind::Device | Kind::Memory | Kind::Pipe | Kind::Terminal => without_sigpipe(splice),
    }
}

/// This kernel has tee.
pub(super) const HAS_TEE: bool = true;

/// tee, which waits for no pipe: copies what is at the front of one pipe into another. No flag of this call keeps its signal away.
pub(super) fn tee(
    from: BorrowedFd<'_>,
    into: BorrowedFd<'_>,
    bytes_max: usize,
) -> Result<usize, Errno> {
    without_sigpipe(|| {
        fallible("tee", Call::Write, || {
            rustix::pipe::tee(from, into, bytes_max, SpliceFlags::NONBLOCK)
        })
    })
}

/// sendfile, from where the file is: to memory, or to a socket in non-blocking mode, for no flag of this call keeps it from waiting.
/// Nor does one keep its signal away.
pub(super) fn sendfile(
    from: BorrowedFd<'_>,
    into: BorrowedFd<'_>,
    bytes_max: usize,
) -> Result<usize, Errno> {
    without_sigpipe_of_several(|| {
        fallible("sendfile", Call::Write, || {
            rustix::fs::sendfile(into, from, None, bytes_max)
        })
    })
}

/// copy_file_range, from where the one file is to where the other is: the file system copies, or has them share what it keeps. From `at`, if
/// that is said: the position of the one file is not moved then.
pub(super) fn copy_file_range(
    (from, mut at): (BorrowedFd<'_>, Option<u64>),
    into: BorrowedFd<'_>,
    bytes_max: usize,
) -> Result<usize, Errno> {
    without_sigxfsz(|| {
        fallible("copy_file_range", Call::Write, || {
            rustix::fs::copy_file_range(from, at.as_mut(), into, None, bytes_max)
        })
    })
}

/// lseek SEEK_DATA: where data is, from there on, and the position is set there. ENXIO: there is none up to the end.
pub(super) fn seek_data(fd: BorrowedFd<'_>, at: u64) -> Result<u64, Errno> {
    fallible("lseek (SEEK_DATA)", Call::Query, || {
        rustix::fs::seek(fd, SeekFrom::Data(at))
    })
}

/// lseek SEEK_HOLE: where a hole is, from there on, and the position is set there. The end counts as one.
pub(super) fn seek_hole(fd: BorrowedFd<'_>, at: u64) -> Result<u64, Errno> {
    fallible("lseek (SEEK_HOLE)", Call::Query, || {
        rustix::fs::seek(fd, SeekFrom::Hole(at))
    })
}

/// ftruncate: sets a file's size. Past the process's bound on the size of files it raises a signal, as a write does.
pub(super) fn set_size(fd: BorrowedFd<'_>, bytes: u64) -> Result<(), Errno> {
    without_sigxfsz(|| {
        fallible("ftruncate", Call::Write, || {
            rustix::fs::ftruncate(fd, bytes)
        })
    })
}

/// sendmsg with MSG_DONTWAIT and MSG_NOSIGNAL.
pub(super) fn send(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if let [only] = slices {
        return fallible("send", Call::Write, || rustix::net::send(fd, only, flags));
    }
    fallible("sendmsg", Call::Write, || {
        rustix::net::sendmsg(fd, slices, &mut Default::default(), flags)
    })
}

/// prctl(PR_SET_TIMERSLACK): the kernel may end a thread's timeouts 50 µs late, to wake for several at once.
pub(super) fn exact_timeouts() {
    // Refused, the timeouts are as late as everybody's.
    let _ = rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN));
}

/// ppoll in the calling thread, which its bell calls back.
pub(super) fn block_until(fd: BorrowedFd<'_>, what: PollFlags, timeout: Option<Duration>) -> bool {
    super::bell::block_until(fd, what, timeout)
}

/// As `block_until`, for any of these.
pub(super) fn block_until_any(
    fds: &[BorrowedFd<'_>],
    what: PollFlags,
    timeout: Option<Duration>,
) -> bool {
    super::bell::block_until_any((fds, what), None, timeout).is_some()
}

/// poll: whether a TCP socket that says that it is not connected was so before: both sides have ended, or it was reset. What had come until then can
/// be read, and then the end, or the reset. One that never tried to be, or listens, has no end to read (net/ipv4/tcp.c,
/// `tcp_poll`); one that was refused, or whose reset somebody else has read, cannot be told from one that ended.
pub(super) fn was_connected(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(&fd, PollFlags::RDHUP)];
    let seen = fallible("poll (was connected)", Call::Query, || {
        rustix::event::poll(&mut polled, Some(&Timespec::default()))
    });
    seen.is_ok() && polled[0].revents().contains(PollFlags::RDHUP)
}

/// sched_getaffinity: whether another processor is there while the calling thread keeps one.
pub(super) fn may_spin() -> bool {
    super::processors::are_several()
}

/// recv with MSG_DONTWAIT.
pub(super) fn receive(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize, Errno> {
    fallible("recv", Call::Read, || {
        rustix::net::recv(fd, buf, RecvFlags::DONTWAIT).map(|(n, _)| n)
    })
}

/// fstatfs: whether this pipe has no name. FIFOs refuse RWF_NOWAIT (Linux 6.18).
pub(super) fn is_anonymous_pipe(fd: BorrowedFd<'_>) -> bool {
    let stat = fallible("fstatfs", Call::Query, || rustix::fs::fstatfs(fd));
    stat.is_ok_and(|stat| stat.f_type as u64 == PIPEFS_MAGIC)
}

/// Whether a character device is null, zero or full (the kernel's devices.txt): it answers at once, whatever it is asked for.
#[allow(
    clippy::cast_possible_truncation,
    clippy::unnecessary_cast,
    reason = "Android's numbers have other widths"
)]
pub(super) fn is_memory(stat: &Stat) -> bool {
    const MEMORY: u32 = 1;
    const NULL: u32 = 3;
    const ZERO: u32 = 5;
    const FULL: u32 = 7;
    let number = stat.st_rdev as Dev;
    let minor = rustix::fs::minor(number);
    rustix::fs::major(number) == MEMORY && [NULL, ZERO, FULL].contains(&minor)
}

/// ioctl TIOCGPTN: whether this is the leading end of a pseudo-terminal, as far as it can be ruled out: ENOTTY alone says that
/// it is none. To open one again would make another terminal, so whatever else is said, it is not done.
pub(super) fn is_terminal_master(fd: BorrowedFd<'_>) -> bool {
    let name = fallible("TIOCGPTN", Call::Query, || {
        rustix::pty::ptsname(fd, Vec::new())
    });
    name != Err(Errno::NOTTY)
}

/// open of /dev/ptmx, and of the other end by TIOCGPTPEER, or by its name where the kernel has no such call (before Linux 4.13):
/// a new pseudo-terminal's leading end and its other one, close-on-exec, and nobody's controlling terminal.
pub(super) fn terminal() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let leading = fallible("openpt", Call::Make, || rustix::pty::openpt(flags))?;
    fallible("unlockpt", Call::Make, || rustix::pty::unlockpt(&leading))?;
    let opened = fallible("TIOCGPTPEER (make)", Call::Make, || {
        rustix::pty::ioctl_tiocgptpeer(&leading, flags)
    });
    let following = match opened {
        Err(Errno::NOTTY | Errno::INVAL) => fallible("open (terminal)", Call::Open, || {
            let name = rustix::pty::ptsname(&leading, Vec::new())?;
            rustix::fs::open(&name, flags.into(), Mode::empty())
        })?,
        opened => opened?,
    };
    Ok((leading, following))
}

/// open of /proc/self/fd/N: the same pipe, FIFO or terminal in a file description of our own, whose O_NONBLOCK nobody shares.
pub(super) fn reopen(fd: BorrowedFd<'_>, direction: Direction) -> Result<OwnedFd, Errno> {
    let access = match direction {
        Direction::Read => OFlags::RDONLY,
        Direction::Write => OFlags::WRONLY,
    };
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = fallible("open (again)", Call::Open, || {
        rustix::fs::open(&*path, flags, Mode::empty())
    })?;
    // What the path led to must be the same thing.
    let (ours, theirs) = (rustix::fs::fstat(&opened)?, rustix::fs::fstat(fd)?);
    if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) {
        Ok(opened)
    } else {
        Err(Errno::NODEV)
    }
}

/// FIONREAD on a pipe or a pseudo-terminal's other end, SIOCOUTQ on a local socket: how many bytes the peer has not read, if that
/// can be known.
pub(super) fn unread(fd: BorrowedFd<'_>, kind: Kind) -> Option<Result<u64, Errno>> {
    match kind {
        Kind::Pipe => Some(fallible("FIONREAD", Call::Query, || {
            rustix::io::ioctl_fionread(fd)
        })),
        Kind::LocalSocket => Some(fallible("SIOCOUTQ", Call::Query, || out_queue(fd))),
        Kind::Terminal => unread_by_program(fd),
        Kind::Device | Kind::File | Kind::Memory | Kind::Socket => None,
    }
}

/// What the program at a pseudo-terminal has not read: asked of its end, which is opened for the question (Linux 4.13), for the
/// leading end does not know. In line mode the terminal keeps an unfinished line back, from the program and from this count.
fn unread_by_program(fd: BorrowedFd<'_>) -> Option<Result<u64, Errno>> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let open = || {
        fallible("TIOCGPTPEER", Call::Query, || {
            rustix::pty::ioctl_tiocgptpeer(fd, flags)
        })
    };
    let end = loop {
        match open() {
            Ok(end) => break end,
            Err(Errno::INTR) => {}
            // No leading end, an older kernel, or one whose other end nobody may open yet.
            Err(Errno::NOTTY | Errno::INVAL | Errno::IO) => return None,
            Err(code) => return Some(Err(code)),
        }
    };
    // The poll has the kernel bring what is on its way between the two ends.
    let seen = polled(end.as_fd()).map(drop);
    Some(seen.and_then(|()| fallible("FIONREAD", Call::Query, || rustix::io::ioctl_fionread(&end))))
}

/// ioctl SIOCOUTQ (unix(7): "the amount of data in the socket's send queue").
fn out_queue(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the same number as SIOCOUTQ) writes one int; `bytes` is ours and outlives the call, which keeps no
    // reference. The descriptor is borrowed, so it is open.
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status != 0 {
        return Err(last_errno());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// sock_diag(7): how many bytes the peer of the local socket with this number has not read.
pub(super) fn unread_by_peer(inode: u32) -> Option<u64> {
    super::socket_diag::unread_by_peer(inode)
}

/// Whether this standard stream was closed when the process started.
pub(super) fn was_closed(number: u32) -> bool {
    super::start::was_closed(number)
}

/// fcntl F_GETPIPE_SZ.
pub(super) fn capacity(fd: BorrowedFd<'_>) -> Option<u64> {
    let asked = fallible("F_GETPIPE_SZ", Call::Query, || {
        rustix::pipe::fcntl_getpipe_size(fd)
    });
    asked.ok().map(|n| n as u64)
}

/// fcntl F_SETPIPE_SZ, read back: the kernel rounds up, and refuses past the user's limit.
pub(super) fn set_capacity(fd: BorrowedFd<'_>, bytes: u64) -> Option<u64> {
    let wanted = usize::try_from(bytes).ok()?;
    // A refusal (EPERM, EBUSY) leaves the old capacity, which is what is then read back.
    let _ = fallible("F_SETPIPE_SZ", Call::Query, || {
        rustix::pipe::fcntl_setpipe_size(fd.as_fd(), wanted)
    });
    capacity(fd)
}

/// The calling thread's errno.
pub(super) fn last_errno() -> Errno {
    let code = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(code.unwrap_or(libc::EIO))
}
