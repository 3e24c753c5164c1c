//! One end of a pipe: what kind of thing it is, and the ladder of ways to use it without waiting.
//!
//! O_NONBLOCK belongs to the open file description, which others may share (a shell, a sibling, `tee`): it is never set on
//! a handle that came from outside, unless whoever brought it says that nobody shares it. The rung is chosen at adoption
//! and never changes.

use super::OsHandle;
use super::classify::{Call, classified, classify};
use super::helper::Helper;
use super::kernel::{self, Features};
use super::rung::{Helped, How, OnRung, Rung, descend};
use crate::fault::fallible;
use crate::step::{Direction, Refused, Step, StepError, step};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, FdFlags, IoSlice};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use watertight_core::{Cause, Class, OsCode};

/// What kind of thing a descriptor is, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A character device that is no terminal and no memory.
    Device,
    /// A regular file or a block device: never waits by POSIX's word, blocks in fact.
    File,
    /// A connected AF_UNIX stream socket.
    LocalSocket,
    /// A character device of memory that never waits: /dev/null, /dev/zero, /dev/full.
    Memory,
    /// A pipe or a FIFO.
    Pipe,
    /// Another connected stream socket.
    Socket,
    /// A terminal.
    Terminal,
}

/// One end of a pipe.
#[derive(Debug)]
pub struct Handle {
    fd: OnRung,
    direction: Direction,
    kind: Kind,
    /// A pipe with a name: its end may come before its first writer.
    is_fifo: bool,
    /// A pseudo-terminal's leading end: closing it throws away what was not read.
    is_leading_end: bool,
    /// A pipe, or a socket in non-blocking mode, that nobody else has: we made it, or whoever brought it says so.
    is_ours: bool,
    /// O_NONBLOCK was set by us, and goes when the descriptor is given back: see `alone.rs`.
    pub(super) is_switched: AtomicBool,
    /// Children got the descriptor when it came, and get it again when it is given back.
    was_inherited: bool,
    /// A second descriptor was made, and others may use it.
    pub(super) is_copied: AtomicBool,
    /// A call is under way that would wait if the socket were in blocking mode: see `alone.rs`.
    pub(super) is_moved_to: AtomicBool,
    features: Features,
    pub(super) poll_key: usize,
    pub(super) registered: AtomicBool,
    /// A byte lies unread at this end, on purpose: see `armed.rs`.
    pub(super) holds_byte: AtomicBool,
}

/// What an adoption finds out before it takes anything.
struct Found {
    kind: Kind,
    anonymous: bool,
    /// A pseudo-terminal's leading end.
    is_leading_end: bool,
    /// It came in non-blocking mode.
    is_nonblocking: bool,
}

impl Found {
    fn is_nonblocking_socket(&self) -> bool {
        self.is_nonblocking && matches!(self.kind, Kind::LocalSocket | Kind::Socket)
    }
}

impl Handle {
    /// Which way the bytes go.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether it is a regular file (or a block device).
    #[must_use]
    pub fn is_regular_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// fcntl F_GETPIPE_SZ: how many bytes the pipe holds, where that can be asked.
    #[must_use]
    pub fn capacity(&self) -> Option<u64> {
        kernel::capacity(self.original())
    }

    /// fcntl F_SETPIPE_SZ: asks for a capacity and says what it is then; the kernel may round up or refuse.
    pub fn set_capacity(&self, bytes: u64) -> Option<u64> {
        kernel::set_capacity(self.original(), bytes)
    }

    /// poll: whether a read would bring bytes, the end or a failure now, so that whoever waits for it is about to be told.
    pub(super) fn is_readable(&self) -> bool {
        polled_for(self.original(), PollFlags::IN).is_ok_and(|seen| !seen.is_empty())
    }

    /// Whether it is read at once, in the caller's thread, and readiness says when that is worth it.
    #[must_use]
    pub const fn reads_directly(&self) -> bool {
        !matches!(self.fd, OnRung::Helper(_))
    }

    /// F_DUPFD_CLOEXEC: a second descriptor that is only waited on. Nobody reads or writes there.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn try_clone_to_wait(&self) -> std::io::Result<OsHandle> {
        self.original().try_clone_to_owned()
    }

    /// Whether a child can use it as its standard stream.
    ///
    /// # Errors
    /// Never here.
    pub const fn fits_a_child(&self) -> Result<(), Cause> {
        Ok(())
    }

    /// What the kernel keeps whole among several writers, once others may write here too.
    #[must_use]
    pub fn atomic_bytes_if_shared(&self) -> Option<u64> {
        (self.kind == Kind::Pipe).then_some(libc::PIPE_BUF as u64)
    }

    /// Gives the descriptor back, in the state it came in. Nothing is in flight.
    #[must_use]
    pub fn into_os(self) -> OsHandle {
        // A pipe of ours leaves as everybody expects one.
        self.leave_nonblocking();
        // If that fails, the peer sees a cut stream where nobody cut it: safe, and nobody is left to tell.
        let _ = self.disarm();
        let was_inherited = self.was_inherited;
        let fd = self.into_fd();
        if was_inherited {
            give_to_children(fd.as_fd());
        }
        fd
    }

    /// The descriptor, with the helper's thread ended and a private reopening closed.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd.into_fd()
    }

    /// The descriptor in a forked child, which has no helper's thread to end.
    /// Nothing if that thread was working at the fork: what it held is held for ever.
    pub(super) fn into_fd_elsewhere(self) -> Option<OwnedFd> {
        self.fd.into_fd_elsewhere()
    }

    /// Others may write into an adopted pipe, and the kernel keeps so many bytes whole among theirs (POSIX PIPE_BUF).
    pub(super) fn atomic_bytes_max(&self) -> Option<u64> {
        self.atomic_bytes_if_shared().filter(|_| !self.is_ours)
    }

    /// Whether a read of nothing on this FIFO means that no writer has come yet, rather than that the last one left.
    /// Asked of the descriptor that was adopted: only it knows what it was opened against.
    pub(super) fn awaits_a_writer(&self) -> Result<bool, Errno> {
        Ok(self.is_fifo && !polled(self.original())?.contains(PollFlags::HUP))
    }

    /// Whether it is a pipe, or a socket in non-blocking mode, that nobody else has.
    pub(super) const fn is_ours(&self) -> bool {
        self.is_ours
    }

    pub(super) const fn is_leading_end(&self) -> bool {
        self.is_leading_end
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn helped(&self) -> Option<&Helped> {
        match &self.fd {
            OnRung::Helper(helped) => Some(helped),
            OnRung::Message(..) | OnRung::NoWait(..) | OnRung::Private(..) => None,
        }
    }

    /// An armed socket's SO_LINGER, as it was before; nothing where there is no such thing.
    pub(super) fn linger_before(&self) -> Option<&OnceLock<u32>> {
        match &self.fd {
            OnRung::Message(_, before) => Some(before),
            OnRung::Helper(_) | OnRung::NoWait(..) | OnRung::Private(..) => None,
        }
    }

    /// The descriptor to wait on. It stays the same for life, for the poller knows it; one that a pipe fell to later is the
    /// same pipe, and ready when this one is.
    pub(super) fn waited_on(&self) -> BorrowedFd<'_> {
        match &self.fd {
            OnRung::Private(_, Some(private)) => private.as_fd(),
            OnRung::Helper(_)
            | OnRung::Message(..)
            | OnRung::NoWait(..)
            | OnRung::Private(_, None) => self.original(),
        }
    }

    /// The descriptor that was adopted.
    pub(super) fn original(&self) -> BorrowedFd<'_> {
        self.fd.original()
    }

    /// sendmsg or pwritev2: writes what the kernel takes at once.
    pub(super) fn write_now(&self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        match &self.fd {
            OnRung::Message(fd, _) => kernel::send(fd.as_fd(), slices),
            OnRung::NoWait(fd, reopened) => {
                descend(fd, reopened, self.direction, |fd, how| match how {
                    How::Around => kernel::write_around(fd, slices),
                    How::Flag | How::Private => {
                        kernel::write(fd, slices, how == How::Flag, self.features)
                    }
                })
            }
            OnRung::Private(..) => kernel::write(self.waited_on(), slices, false, self.features),
            OnRung::Helper(_) => Err(Errno::AGAIN),
        }
    }

    /// recv or preadv2: reads what is there. `None`: only the helper reads.
    pub(super) fn read_now(&self, buf: &mut [u8]) -> Option<Result<usize, Errno>> {
        Some(match &self.fd {
            OnRung::Message(fd, _) => kernel::receive(fd.as_fd(), buf),
            OnRung::NoWait(fd, reopened) => {
                descend(fd, reopened, self.direction, |fd, how| match how {
                    How::Around => kernel::read_around(fd, buf),
                    How::Flag | How::Private => kernel::read(fd, buf, how == How::Flag),
                })
            }
            OnRung::Private(..) => kernel::read(self.waited_on(), buf, false),
            OnRung::Helper(_) => return None,
        })
    }

    /// An end of a pipe that we made ourselves.
    pub(super) fn own(
        fd: OwnedFd,
        direction: Direction,
        features: Features,
        poll_key: usize,
    ) -> Self {
        let rung = if kernel::own_pipes_are_private() {
            Rung::Private(None)
        } else {
            Rung::NoWait
        };
        Self {
            is_ours: true,
            is_switched: AtomicBool::new(kernel::own_pipes_are_private()),
            ..Self::made(fd, direction, Kind::Pipe, rung, features, poll_key)
        }
    }

    /// An end that is served by a helper whatever it is.
    #[cfg(test)]
    pub(super) fn with_helper(
        fd: OwnedFd,
        direction: Direction,
        kind: Kind,
        helper: Helper,
    ) -> Self {
        let rung = Rung::Helper(helper);
        Self::made(fd, direction, kind, rung, Features::default(), 0)
    }

    fn made(
        fd: OwnedFd,
        direction: Direction,
        kind: Kind,
        rung: Rung,
        features: Features,
        poll_key: usize,
    ) -> Self {
        Self {
            fd: OnRung::new(fd, rung),
            direction,
            kind,
            is_fifo: false,
            is_leading_end: false,
            is_ours: false,
            is_switched: AtomicBool::new(false),
            was_inherited: false,
            is_copied: AtomicBool::new(false),
            is_moved_to: AtomicBool::new(false),
            features,
            poll_key,
            registered: AtomicBool::new(false),
            holds_byte: AtomicBool::new(false),
        }
    }
}

/// Takes over a descriptor, or gives it back untouched with the step that failed.
pub(super) fn adopt(
    fd: OsHandle,
    direction: Direction,
    is_unshared: bool,
    features: Features,
    poll_key: usize,
    make_helper: impl FnOnce() -> Result<Helper, StepError>,
) -> Result<Handle, Refused> {
    let chosen = inspect(fd.as_fd(), direction).and_then(|found| {
        let is_our_pipe = is_unshared && found.kind == Kind::Pipe;
        let is_ours = is_our_pipe || (is_unshared && found.is_nonblocking_socket());
        // A flag of the call is cheaper where a pipe has one.
        let rung = if is_our_pipe && !(features.nowait && found.anonymous) {
            Rung::Private(None)
        } else {
            choose(fd.as_fd(), direction, &found, features, make_helper)?
        };
        let was_inherited = step(Step::CloseOnExec, || {
            let before = fallible("F_GETFD", Call::Query, || {
                rustix::io::fcntl_getfd(fd.as_fd())
            })
            .map_err(|code| classified(Call::Query, code))?;
            // The flag is the descriptor's own: nobody who shares the pipe is touched.
            let set = fallible("F_SETFD", Call::Query, || {
                rustix::io::fcntl_setfd(fd.as_fd(), FdFlags::CLOEXEC)
            });
            set.map_err(|code| classified(Call::Query, code))?;
            Ok(!before.contains(FdFlags::CLOEXEC))
        })?;
        let is_switched = if matches!(rung, Rung::Private(None)) {
            set_nonblocking(fd.as_fd()).inspect_err(|_| {
                if was_inherited {
                    give_to_children(fd.as_fd());
                }
            })?
        } else {
            false
        };
        Ok((found, rung, was_inherited, is_ours, is_switched))
    });
    match chosen {
        Ok((found, rung, was_inherited, is_ours, is_switched)) => {
            let made = Handle::made(fd, direction, found.kind, rung, features, poll_key);
            Ok(Handle {
                is_fifo: found.kind == Kind::Pipe && !found.anonymous,
                is_leading_end: found.is_leading_end,
                is_ours,
                is_switched: AtomicBool::new(is_switched),
                was_inherited,
                ..made
            })
        }
        Err(error) => Err(Refused { error, handle: fd }),
    }
}

/// Climbs the ladder. Every rung that takes something releases it again if it fails.
fn choose(
    fd: BorrowedFd<'_>,
    direction: Direction,
    found: &Found,
    features: Features,
    make_helper: impl FnOnce() -> Result<Helper, StepError>,
) -> Result<Rung, StepError> {
    match found.kind {
        Kind::LocalSocket | Kind::Socket => return Ok(Rung::Message),
        Kind::Pipe if features.nowait && found.anonymous => return Ok(Rung::NoWait),
        // The leading end of a pseudo-terminal: opening it again would make another terminal.
        Kind::Terminal if found.is_leading_end => {}
        Kind::Pipe | Kind::Terminal => {
            let opened = step(Step::Reopen, || {
                kernel::reopen(fd, direction).map_err(|code| classified(Call::Open, code))
            });
            match opened {
                Ok(private) => return Ok(Rung::Private(Some(private))),
                // Out of descriptors: the helper would need some too. Anything else: the next rung.
                Err(error) if error.class == Class::Limit => return Err(error),
                Err(_) => {}
            }
        }
        Kind::Device | Kind::File | Kind::Memory => {}
    }
    make_helper().map(Rung::Helper)
}

/// fstat, fcntl F_GETFL, getsockopt: what it is and whether it fits.
fn inspect(fd: BorrowedFd<'_>, direction: Direction) -> Result<Found, StepError> {
    let found = step(Step::Inspect, || {
        let stat = fallible("fstat", Call::Query, || rustix::fs::fstat(fd))
            .map_err(|code| classified(Call::Query, code))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Kind::Pipe,
            FileType::Socket => socket_kind(fd)?,
            FileType::CharacterDevice if kernel::is_memory(&stat) => Kind::Memory,
            FileType::CharacterDevice if is_terminal(fd) => Kind::Terminal,
            FileType::CharacterDevice => Kind::Device,
            FileType::RegularFile | FileType::BlockDevice => Kind::File,
            FileType::Directory => return Err(argument(Errno::ISDIR)),
            FileType::Symlink | FileType::Unknown => return Err(argument(Errno::INVAL)),
        };
        Ok(Found {
            kind,
            anonymous: kind == Kind::Pipe && kernel::is_anonymous_pipe(fd),
            is_leading_end: kind == Kind::Terminal && kernel::is_terminal_master(fd),
            is_nonblocking: false,
        })
    })?;
    let is_nonblocking = step(Step::InspectAccess, || {
        let flags = flags_of(fd).map_err(|code| classified(Call::Query, code))?;
        kernel::refuse_mode(flags, found.kind, direction)?;
        let access = flags & OFlags::RWMODE;
        let fits = match direction {
            Direction::Read => access == OFlags::RDONLY || access == OFlags::RDWR,
            Direction::Write => access == OFlags::WRONLY || access == OFlags::RDWR,
        };
        // EBADF is what a read or write would say: "not open for reading (writing)".
        if fits {
            Ok(flags.contains(OFlags::NONBLOCK))
        } else {
            Err(argument(Errno::BADF))
        }
    })?;
    Ok(Found {
        is_nonblocking,
        ..found
    })
}

/// fcntl F_SETFL: O_NONBLOCK on a description that nobody shares. Whether it was not set before.
fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<bool, StepError> {
    step(Step::SetNonblocking, || {
        let switch = |flags: OFlags| {
            let set = kernel::silence(fd, true).and_then(|()| {
                fallible("F_SETFL", Call::Query, || {
                    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
                })
            });
            if set.is_err() {
                let _ = kernel::silence(fd, false);
            }
            set.map(|()| true)
        };
        let switched = flags_of(fd).and_then(|flags| {
            if flags.contains(OFlags::NONBLOCK) {
                Ok(false)
            } else {
                switch(flags)
            }
        });
        switched.map_err(|code| classified(Call::Query, code))
    })
}

/// fcntl F_SETFD: C1, it leaves as it came. If that fails, children do not get it, which harms nobody.
fn give_to_children(fd: BorrowedFd<'_>) {
    let _ = fallible("F_SETFD (back)", Call::Query, || {
        rustix::io::fcntl_setfd(fd, FdFlags::empty())
    });
}

/// fcntl F_GETFL.
pub(super) fn flags_of(fd: BorrowedFd<'_>) -> Result<OFlags, Errno> {
    fallible("F_GETFL", Call::Query, || rustix::fs::fcntl_getfl(fd))
}

/// isatty. What does not say that it is one is served by a helper, which is right for every device.
fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    let answer = fallible("isatty", Call::Query, || {
        rustix::termios::isatty(fd)
            .then_some(())
            .ok_or(Errno::NOTTY)
    });
    answer.is_ok()
}

/// getsockopt SO_TYPE and SO_DOMAIN, getpeername: a connected stream, or it does not fit.
fn socket_kind(fd: BorrowedFd<'_>) -> Result<Kind, (Class, Option<OsCode>)> {
    let query = |code| classified(Call::Query, code);
    let stream = fallible("SO_TYPE", Call::Query, || sockopt::socket_type(fd)).map_err(query)?
        == SocketType::STREAM;
    if !stream {
        // Datagrams have boundaries that a byte stream would tear.
        return Err(argument(Errno::PROTOTYPE));
    }
    let peer = fallible("getpeername", Call::Query, || rustix::net::getpeername(fd));
    match peer {
        // A peer that is gone already has left what can be read.
        Ok(_) | Err(Errno::INVAL) => {}
        Err(Errno::NOTCONN) if kernel::was_connected(fd) => {}
        Err(code) => {
            return Err((
                classify(Call::Query, code),
                Some(OsCode(code.raw_os_error())),
            ));
        }
    }
    let named =
        fallible("getsockname", Call::Query, || rustix::net::getsockname(fd)).map_err(query)?;
    Ok(if named.address_family() == AddressFamily::UNIX {
        Kind::LocalSocket
    } else {
        Kind::Socket
    })
}

/// poll, with no time to wait: what it says unasked.
pub(super) fn polled(fd: BorrowedFd<'_>) -> Result<PollFlags, Errno> {
    polled_for(fd, PollFlags::empty())
}

/// poll, with no time to wait.
pub(super) fn polled_for(fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Errno> {
    let mut polled = [PollFd::new(&fd, events)];
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    loop {
        let answer = fallible("poll (now)", Call::Wait, || {
            rustix::event::poll(&mut polled, Some(&zero))
        });
        match answer {
            Err(Errno::INTR) => {}
            Ok(_) => return Ok(polled[0].revents()),
            Err(code) => return Err(code),
        }
    }
}

fn argument(code: Errno) -> (Class, Option<OsCode>) {
    (Class::Argument, Some(OsCode(code.raw_os_error())))
}

impl Handle {
    /// Whether the poller knows it.
    pub(super) fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Acquire)
    }
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_small() {
        assert!(size_of::<Handle>() <= 40);
    }
}
