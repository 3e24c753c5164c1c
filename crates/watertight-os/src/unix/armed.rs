//! Armed sockets: a stream that looks cut to its peer unless it is ended in order, even if this process is killed.
//!
//! TCP: SO_LINGER with no time makes every close a reset (socket(7)): the peer reads what its own system has, then ECONNRESET. The
//! orderly end takes that back first.
//!
//! A pair of local sockets of our own making: one byte lies unread at our end. Who closes a local socket with unread bytes has its
//! peer read what it was sent, and then ECONNRESET in place of the end (net/unix/af_unix.c, `unix_release_sock`). The orderly end
//! reads the byte first. It is Linux's behaviour, so it is tried once before it is promised. Pipes have no such sign.

use super::classify::{Call, classified};
use super::handle::{Handle, Kind};
use crate::fault::fallible;
use crate::step::{Step, StepError, step};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, Shutdown, sockopt};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;
use watertight_core::Class;

/// What is kept of an SO_LINGER that is off; of one that is on, its seconds. The system has an `int` of them.
const LINGERS_NOT: u32 = u32::MAX;
const SECONDS_MAX: u32 = LINGERS_NOT - 1;

impl Handle {
    /// SO_LINGER {1, 0}, and what it was before.
    ///
    /// # Errors
    /// No TCP socket, or the system refuses.
    pub fn arm(&self) -> Result<(), StepError> {
        step(Step::Arm, || {
            let Some(linger_before) = self.linger_before().filter(|_| self.is_tcp()) else {
                return Err((Class::Unsupported, None));
            };
            let query = |code| classified(Call::Query, code);
            let fd = self.original();
            let before = fallible("SO_LINGER", Call::Query, || sockopt::socket_linger(fd));
            let before = before.map_err(query)?;
            set_linger(self, Some(Duration::ZERO)).map_err(query)?;
            let seconds = |linger: Duration| u32::try_from(linger.as_secs()).unwrap_or(SECONDS_MAX);
            // Armed twice, it is still the first answer that counts.
            let _ = linger_before.set(before.map_or(LINGERS_NOT, seconds));
            Ok(())
        })
    }

    /// It is our end of an [`armed_pair`]: a byte lies there, and the non-blocking mode is of our making.
    pub fn holds_a_byte(&self) {
        self.holds_byte.store(true, Ordering::Release);
        self.is_switched.store(true, Ordering::Release);
    }

    /// The stream ends in order, or leaves as it came: what was before [`Handle::arm`].
    pub(super) fn disarm(&self) -> Result<(), Errno> {
        if self.holds_byte.swap(false, Ordering::AcqRel) {
            // The other end can send no more, so this is all there is.
            read_byte(self.original())?;
        }
        match self.linger_before().and_then(OnceLock::get) {
            None => Ok(()),
            Some(&LINGERS_NOT) => set_linger(self, None),
            Some(&seconds) => set_linger(self, Some(Duration::from_secs(seconds.into()))),
        }
    }

    fn is_tcp(&self) -> bool {
        let name = || rustix::net::getsockname(self.original().as_fd());
        let is_inet = |family| family == AddressFamily::INET || family == AddressFamily::INET6;
        self.kind() == Kind::Socket && name().is_ok_and(|name| is_inet(name.address_family()))
    }
}

/// socketpair: our end, to be written, and a child's, to be read, which sees a reset unless our end is ended in order. Ours is in
/// non-blocking mode, so that bytes may be moved there inside the kernel; the child's is not, for it has a description of its own.
///
/// # Errors
/// Out of descriptors, or this system gives no such sign (`Unsupported`). Nothing is left behind.
pub fn armed_pair() -> Result<(OwnedFd, OwnedFd), StepError> {
    static SHOWS: OnceLock<bool> = OnceLock::new();
    step(Step::Arm, || {
        let query = |code| classified(Call::Make, code);
        let shows = match SHOWS.get() {
            Some(shows) => *shows,
            None => {
                let shows = try_a_cut().map_err(query)?;
                *SHOWS.get_or_init(|| shows)
            }
        };
        if !shows {
            return Err((Class::Unsupported, None));
        }
        pair().map_err(query)
    })
}

fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (ours, theirs) = fallible("socketpair", Call::Make, || {
        std::os::unix::net::UnixStream::pair().map_err(|error| errno(&error))
    })?;
    fallible("FIONBIO (pair)", Call::Make, || {
        ours.set_nonblocking(true).map_err(|error| errno(&error))
    })?;
    let (ours, theirs) = (OwnedFd::from(ours), OwnedFd::from(theirs));
    fallible("send (byte)", Call::Make, || {
        rustix::io::write(&theirs, &[0])
    })?;
    // A child that writes to its standard input must not add to it.
    fallible("shutdown (pair)", Call::Make, || {
        rustix::net::shutdown(&theirs, Shutdown::Write)
    })?;
    Ok((ours, theirs))
}

/// Whether a cut shows here: a pair that is closed without its orderly end gives its data, and then an error.
fn try_a_cut() -> Result<bool, Errno> {
    let (ours, theirs) = pair()?;
    rustix::io::write(&ours, b"x")?;
    drop(ours);
    let mut buf = [0; 2];
    let mut read = || {
        fallible("read (trial)", Call::Read, || {
            rustix::io::read(&theirs, &mut buf)
        })
    };
    Ok(read() == Ok(1) && read() == Err(Errno::CONNRESET))
}

/// recv: the byte that lies at our end.
fn read_byte(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut buf = [0; 1];
    loop {
        let read = fallible("recv (byte)", Call::Read, || {
            rustix::net::recv(fd, &mut buf, RecvFlags::DONTWAIT)
        });
        match read {
            Ok(_) | Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(code) => return Err(code),
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn set_linger(handle: &Handle, linger: Option<Duration>) -> Result<(), Errno> {
    fallible("SO_LINGER (set)", Call::Query, || {
        sockopt::set_socket_linger(handle.original(), linger)
    })
}
