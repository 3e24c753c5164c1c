//! How many bytes the peer has not read: what the descriptor tells, and what is asked without it.

use super::OsHandle;
use super::handle::{Handle, Kind};
use super::kernel;
use super::until_read::identity;
use crate::unread::Unread;
use std::os::fd::AsFd;

impl Handle {
    /// SIOCOUTQ, fstat, F_DUPFD_CLOEXEC: how many bytes the peer has not read, or whom to ask. It does not wait.
    #[must_use]
    pub fn unread(&self) -> Option<Unread> {
        match self.kind() {
            // Of a socket only "all" is exact: else the number is that of the kernel's memory.
            Kind::LocalSocket => match kernel::unread(self.original(), self.kind())?.ok()? {
                0 => Some(Unread::Bytes(0)),
                _ => {
                    let (_, inode) = identity(self)?;
                    u32::try_from(inode).ok().map(Unread::OfSocket)
                }
            },
            // The answer may be long in coming: a descriptor of its own keeps this one free for everything else.
            Kind::Pipe => self.try_clone_to_wait().ok().map(Unread::OfPipe),
            // A terminal's other end would have to be opened for the question, which ends a hang-up.
            Kind::Device | Kind::File | Kind::Memory | Kind::Socket | Kind::Terminal => None,
        }
    }
}

/// FIONREAD: how many bytes lie in a pipe. It waits, and no signal ends that, as long as a thread of anybody's is in a splice on this pipe
/// that waits for its other side: the kernel keeps the pipe's lock for that time. It belongs under no lock. `None`: the system does not tell.
#[must_use]
pub fn unread_in_pipe(pipe: &OsHandle) -> Option<u64> {
    kernel::unread(pipe.as_fd(), Kind::Pipe)?.ok()
}

/// How many bytes the peer of a local socket has not read; the socket's number is its inode's. It takes a few calls, which belong under
/// no lock. `None`: the system does not tell.
#[must_use]
pub fn unread_by_peer(inode: u32) -> Option<u64> {
    kernel::unread_by_peer(inode)
}
