//! The ladder of ways to use a handle without waiting (docs/gotchas.md, "O_NONBLOCK is shared"), and the descriptor on its rung.
//!
//! Never here: which rung a handle gets.

use super::classify::{Call, classify};
use super::helper::Helper;
use super::kernel;
use crate::step::Direction;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use watertight_core::Class;

/// A way to use a handle without waiting.
#[derive(Debug)]
pub(super) enum Rung {
    /// A thread that blocks in our place.
    Helper(Helper),
    /// MSG_DONTWAIT.
    Message,
    /// RWF_NOWAIT.
    NoWait,
    /// Our own file description with O_NONBLOCK: a reopening, or `None` for the descriptor itself.
    Private(Option<OwnedFd>),
}

/// How one call is made on a pipe whose rung is a flag of the call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// By way of a pipe of our own.
    Around,
    /// With that flag.
    Flag,
    /// On our own file description.
    Private,
}

/// The descriptor that was adopted, on its rung, in as little room as a usual one needs.
#[derive(Debug)]
pub(super) enum OnRung {
    Helper(Box<Helped>),
    /// With an armed socket's SO_LINGER, as it was before: see `armed.rs`.
    Message(OwnedFd, OnceLock<u32>),
    /// With a reopening, once the pipe turned out to refuse RWF_NOWAIT: one that somebody opened again through `/proc`, which
    /// nothing tells before the first call, or one that was spliced: since Linux 6.5 that ends the flag for good.
    NoWait(OwnedFd, OnceLock<OwnedFd>),
    /// With the reopening, if there is one.
    Private(OwnedFd, Option<OwnedFd>),
}

/// A descriptor that a helper's thread uses.
#[derive(Debug)]
pub(super) struct Helped {
    pub(super) helper: Helper,
    /// The thread shares it only while it performs an operation.
    pub(super) fd: Arc<OwnedFd>,
    /// A file has no hole between where it was read last and here, as far as is known: see `holes.rs`.
    pub(super) data_until: AtomicU64,
}

impl OnRung {
    pub(super) fn new(fd: OwnedFd, rung: Rung) -> Self {
        match rung {
            Rung::Helper(helper) => Self::Helper(Box::new(Helped {
                helper,
                fd: Arc::new(fd),
                data_until: AtomicU64::new(0),
            })),
            Rung::Message => Self::Message(fd, OnceLock::new()),
            Rung::NoWait => Self::NoWait(fd, OnceLock::new()),
            Rung::Private(reopening) => Self::Private(fd, reopening),
        }
    }

    /// The descriptor that was adopted.
    pub(super) fn original(&self) -> BorrowedFd<'_> {
        match self {
            Self::Helper(helped) => helped.fd.as_fd(),
            Self::Message(fd, _) | Self::NoWait(fd, _) | Self::Private(fd, _) => fd.as_fd(),
        }
    }

    /// The descriptor that was adopted, with the helper's thread ended and a private reopening closed.
    pub(super) fn into_fd(self) -> OwnedFd {
        match self {
            Self::Helper(helped) => {
                let Helped { helper, fd, .. } = *helped;
                drop(helper);
                Arc::into_inner(fd).expect("a helper holds the descriptor only while it works")
            }
            Self::Message(fd, _) | Self::NoWait(fd, _) | Self::Private(fd, _) => fd,
        }
    }

    /// The same in a forked child, which has no helper's thread to end.
    /// Nothing if that thread was working at the fork: what it held is held for ever.
    pub(super) fn into_fd_elsewhere(self) -> Option<OwnedFd> {
        match self {
            Self::Helper(helped) => {
                let Helped { helper, fd, .. } = *helped;
                helper.leave();
                Arc::into_inner(fd)
            }
            Self::Message(fd, _) | Self::NoWait(fd, _) | Self::Private(fd, _) => Some(fd),
        }
    }
}

/// Tries with RWF_NOWAIT; if this pipe refuses it, opens it once more and tries there, now and from then on. A pipe that cannot be
/// opened, for it is somebody else's or there is no /proc, is read and written by way of a pipe of our own.
pub(super) fn descend(
    fd: &OwnedFd,
    reopened: &OnceLock<OwnedFd>,
    direction: Direction,
    mut attempt: impl FnMut(BorrowedFd<'_>, How) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if let Some(private) = reopened.get() {
        return attempt(private.as_fd(), How::Private);
    }
    let answer = attempt(fd.as_fd(), How::Flag);
    if answer != Err(Errno::OPNOTSUPP) {
        return answer;
    }
    match kernel::reopen(fd.as_fd(), direction) {
        Ok(private) => attempt(reopened.get_or_init(|| private).as_fd(), How::Private),
        // Out of descriptors: a pipe would need some too.
        Err(code) if classify(Call::Open, code) == Class::Limit => Err(code),
        Err(_) => attempt(fd.as_fd(), How::Around),
    }
}
