//! How many bytes of a pipe its peer has not read, as far as a handle tells at once.

/// What a handle tells of the bytes that its peer has not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unread {
    /// So many.
    Bytes(u64),
    /// As many as the peer of the local socket with this number has to read: ask [`unread_by_peer`](crate::unread_by_peer).
    OfSocket(u32),
}
