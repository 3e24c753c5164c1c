//! How many bytes a writer's peer has not read: the part of `PipeWriter` that asks for it.
//!
//! Never here: waiting until the peer has read everything (`pump_write/until_read.rs`).

use crate::writer::PipeWriter;
use watertight_os::{Handle, Unread, unread_by_peer};

impl PipeWriter {
    /// How many bytes the system has of this pipe that its peer has not read. Never waits.
    ///
    /// Known exactly for Linux pipes and FIFOs (`FIONREAD`) and for Linux local sockets (`sock_diag`). `None` where it is not known: for
    /// files, terminals and other sockets, on other systems (of a Windows pipe only [`until_read`](Self::until_read) knows something:
    /// whether all is read), for a pipe that is over, and if the system refuses an answer, as some containers do for local
    /// sockets.
    ///
    /// What others have written into the same pipe counts too. What a peer that closed has left unread may count (a pipe) or not (a
    /// socket): `until_read` tells whether it was read.
    ///
    /// **Bytes.** The account stays as it is: these bytes are transferred. What is still [`unsettled`](crate::Ledger::unsettled) is not
    /// among them.
    ///
    /// # Examples
    ///
    /// ```
    /// let (reader, writer) = watertight::pipe()?;
    /// writer.send(b"three").wait()?;
    /// writer.until_transferred().wait()?;
    /// # if cfg!(target_os = "linux") {
    /// assert_eq!(writer.unread_bytes(), Some(5));
    /// # }
    /// reader.receive(&mut [0; 16]).wait()?;
    /// # if cfg!(target_os = "linux") {
    /// assert_eq!(writer.unread_bytes(), Some(0));
    /// # }
    /// # Ok::<(), watertight::Error>(())
    /// ```
    #[must_use]
    pub fn unread_bytes(&self) -> Option<u64> {
        match self.cell().look(Handle::unread).ok()?? {
            Unread::Bytes(bytes) => Some(bytes),
            // Without the lock: it is several calls.
            Unread::OfSocket(inode) => unread_by_peer(inode),
        }
    }
}
