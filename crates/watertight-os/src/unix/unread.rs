//! How many bytes the peer has not read: what the descriptor tells, and what is asked without it.

use super::handle::{Handle, Kind};
use super::kernel;
use super::until_read::identity;
use crate::unread::Unread;

impl Handle {
    /// FIONREAD, SIOCOUTQ, fstat: how many bytes the peer has not read, where that can be asked. It does not wait.
    #[must_use]
    pub fn unread(&self) -> Option<Unread> {
        let asked = || kernel::unread(self.original(), self.kind())?.ok();
        match self.kind() {
            // Of a socket only "all" is exact: else the number is that of the kernel's memory.
            Kind::LocalSocket => match asked()? {
                0 => Some(Unread::Bytes(0)),
                _ => {
                    let (_, inode) = identity(self)?;
                    u32::try_from(inode).ok().map(Unread::OfSocket)
                }
            },
            Kind::Pipe => asked().map(Unread::Bytes),
            // A terminal's other end would have to be opened for the question, which ends a hang-up.
            Kind::Device | Kind::File | Kind::Memory | Kind::Socket | Kind::Terminal => None,
        }
    }
}

/// How many bytes the peer of a local socket has not read; the socket's number is its inode's. It takes a few calls, which belong under
/// no lock. `None`: the system does not tell.
#[must_use]
pub fn unread_by_peer(inode: u32) -> Option<u64> {
    kernel::unread_by_peer(inode)
}
