//! How many bytes of a pipe its peer has not read: what a handle tells at once, or whom to ask instead.

use crate::OsHandle;

/// What a handle tells of the bytes that its peer has not read.
#[derive(Debug)]
pub enum Unread {
    /// So many.
    Bytes(u64),
    /// As many as lie in the pipe of this second handle: ask [`unread_in_pipe`](crate::unread_in_pipe).
    OfPipe(OsHandle),
    /// As many as the peer of the local socket with this number has to read: ask [`unread_by_peer`](crate::unread_by_peer).
    OfSocket(u32),
}
