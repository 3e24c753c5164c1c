//! How many bytes a writer's peer has not read: the part of `PipeWriter` that asks for it.
//!
//! Never here: waiting until the peer has read everything (`pump_write/until_read.rs`).

use crate::writer::PipeWriter;
use watertight_os::{Handle, Unread, unread_by_peer, unread_in_pipe};

impl PipeWriter {
    /// How many bytes the system has of this pipe that its peer has not read.
    ///
    /// Known exactly for Linux pipes and FIFOs (`FIONREAD`) and for Linux local sockets (`sock_diag`). `None` where it is not known: for
    /// files, terminals and other sockets, on other systems (of a Windows pipe only [`until_read`](Self::until_read) knows something:
    /// whether all is read), for a pipe that is over, and if the system refuses an answer, as some containers do for local
    /// sockets.
    ///
    /// What others have written into the same pipe counts too. What a peer that closed has left unread may count (a pipe) or not (a
    /// socket): `until_read` tells whether it was read.
    ///
    /// Linux answers for a pipe when nobody is at it: as long as a thread of anybody's, in any process, splices from or to this pipe and
    /// waits for the other side of that, this call waits too, and no deadline and no signal ends it. It holds up nobody else meanwhile. Where
    /// that matters, ask on a thread that has nothing else to do.
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
            // Both without the lock: one may wait, and the other is several calls.
            Unread::OfPipe(pipe) => unread_in_pipe(&pipe),
            Unread::OfSocket(inode) => unread_by_peer(inode),
        }
    }
}
