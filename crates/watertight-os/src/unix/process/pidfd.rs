//! A child that is known by a pidfd: a descriptor that means this one process and no later one of the same number.
//!
//! Where the kernel has none (before 5.4) or a filter forbids them, the number has to do.

use super::by_number::Numbered;
use super::life::{self, Life};
use super::usage::{ReapedWith, reap_by_pidfd};
use super::watch;
use crate::fault::fallible;
use crate::process::{ExitCallback, Reaped};
use crate::unix::bell;
use crate::unix::classify::Call;
use crate::unix::handle::Handle;
use crate::unix::kernel::last_errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, pidfd_open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a child is held.
pub(super) enum Hold {
    /// By its number.
    Number(Numbered),
    /// By its descriptor.
    Pidfd(Pid, Arc<OwnedFd>),
}

impl Hold {
    /// pidfd_open, right after the child was made, and the question whether it is that child.
    ///
    /// A child that was reaped before that by somebody else is `Gone`; then nothing may be asked of this hold.
    pub(super) fn take(pid: Pid) -> Result<(Self, Life), Errno> {
        let opened = fallible("pidfd_open (child)", Call::Spawn, || {
            pidfd_open(pid, PidfdFlags::empty())
        });
        let pidfd = match opened {
            Ok(pidfd) => pidfd,
            Err(Errno::NOSYS | Errno::PERM) => return Self::by_number(pid),
            Err(Errno::SRCH) => return Ok((Self::Number(Numbered::new(pid)), Life::Gone)),
            Err(code) => return Err(code),
        };
        match life::asked(WaitId::PidFd(pidfd.as_fd())) {
            // Of somebody else who got the number, or reaped already: neither is ours to touch.
            Ok(Life::Gone) => Ok((Self::Number(Numbered::new(pid)), Life::Gone)),
            Ok(life) => Ok((Self::Pidfd(pid, Arc::new(pidfd)), life)),
            // Linux 5.3 opens pidfds and cannot wait for them; a filter may forbid it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => Self::by_number(pid),
            Err(code) => Err(code),
        }
    }

    fn by_number(pid: Pid) -> Result<(Self, Life), Errno> {
        let numbered = Numbered::new(pid);
        let life = numbered.life()?;
        Ok((Self::Number(numbered), life))
    }

    /// Its number, for those who print it, and for its process group while it is not reaped.
    pub(super) const fn pid(&self) -> Pid {
        match self {
            Self::Number(numbered) => numbered.pid(),
            Self::Pidfd(pid, _) => *pid,
        }
    }

    /// Whether a signal by this can reach no other process.
    pub(super) const fn means_one_process(&self) -> bool {
        matches!(self, Self::Pidfd(..))
    }

    /// waitid, reaping nothing.
    pub(super) fn life(&self) -> Result<Life, Errno> {
        match self {
            Self::Number(numbered) => numbered.life(),
            Self::Pidfd(_, pidfd) => life::asked(WaitId::PidFd(pidfd.as_fd())),
        }
    }

    /// waitid, without waiting and without reaping.
    pub(super) fn peek(&self) -> Result<Reaped, Errno> {
        match self {
            Self::Number(numbered) => numbered.peek(),
            Self::Pidfd(_, pidfd) => life::peek(WaitId::PidFd(pidfd.as_fd())),
        }
    }

    /// waitid, without waiting.
    pub(super) fn reap(&self) -> Result<ReapedWith, Errno> {
        match self {
            Self::Number(numbered) => numbered.reap(),
            Self::Pidfd(_, pidfd) => reap_by_pidfd(pidfd.as_fd()),
        }
    }

    /// pidfd_send_signal, unless it is over.
    pub(super) fn signal(&self, signal: libc::c_int) -> Result<bool, Errno> {
        let pidfd = match self {
            Self::Number(numbered) => return numbered.signal(signal),
            Self::Pidfd(_, pidfd) => pidfd,
        };
        if has_ended(pidfd.as_fd()) {
            return Ok(false);
        }
        send(pidfd.as_fd(), signal)
    }

    /// F_DUPFD_CLOEXEC: a second pidfd.
    pub(super) fn try_clone_descriptor(&self) -> Option<OwnedFd> {
        match self {
            Self::Number(_) => None,
            Self::Pidfd(_, pidfd) => pidfd.try_clone().ok(),
        }
    }

    /// Has `callback` called when the child is over.
    pub(super) fn watch(&self, callback: ExitCallback) -> io::Result<()> {
        match self {
            Self::Number(numbered) => numbered.watch(callback),
            Self::Pidfd(_, pidfd) => watch::add(pidfd, callback),
        }
    }

    /// ppoll, for the child's end and for all that is to be read.
    pub(super) fn block_with_outputs(
        &self,
        outputs: &[&Handle],
        is_end_waited_for: bool,
        timeout: Option<Duration>,
    ) -> Option<bool> {
        let is_waited_on = |output: &&Handle| output.helped().is_none();
        if !outputs.iter().all(is_waited_on) {
            return None;
        }
        let fds: Vec<_> = outputs.iter().map(|output| output.waited_on()).collect();
        let end = match self {
            _ if !is_end_waited_for => None,
            Self::Number(_) => return None,
            Self::Pidfd(_, pidfd) => Some(pidfd.as_fd()),
        };
        bell::block_until_any((&fds, PollFlags::IN), end, timeout)
    }

    /// Waits until the child is over or the time is. Whether it is over.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        match self {
            Self::Number(numbered) => numbered.wait(timeout),
            Self::Pidfd(_, pidfd) => Ok(wait_for_end(pidfd.as_fd(), timeout)?),
        }
    }
}

/// pidfd_send_signal. Whether there was still a process to send it to.
pub(super) fn send(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> Result<bool, Errno> {
    let no_details = std::ptr::null::<libc::siginfo_t>();
    let sent = fallible("pidfd_send_signal", Call::Spawn, || {
        // SAFETY: the descriptor is open while it is borrowed; no memory of ours is handed over, for the details may be left out
        // (pidfd_send_signal(2)).
        let said = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                pidfd.as_raw_fd(),
                signal,
                no_details,
                0_u32,
            )
        };
        if said == 0 { Ok(()) } else { Err(last_errno()) }
    });
    match sent {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(code) => Err(code),
    }
}

/// Whether the process is over, reaped or not.
pub(super) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    // A question that fails tells nothing: then the next call finds out.
    wait_for_end(pidfd, Some(Duration::ZERO)).unwrap_or(false)
}

/// ppoll, until the process is over or the time is. Whether it is over.
pub(super) fn wait_for_end(
    pidfd: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> Result<bool, Errno> {
    // A time that no clock can show never comes.
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
        let waited = fallible("ppoll (child)", Call::Wait, || {
            poll(&mut polled, left.as_ref())
        });
        match waited {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(code) => return Err(code),
        }
    }
}
