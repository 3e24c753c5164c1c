//! What bounds a writing half, and what its handle is like.

/// The bounds of a writing half.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WriteLimits {
    /// Bytes queued and in flight together; past it, acceptance waits.
    pub queue_bytes_max: u64,
    /// Bytes of one operation. On Windows this is what a cancelled write leaves in doubt.
    pub op_bytes_max: usize,
    /// Chunks of one operation (the system's bound on a gather write).
    pub op_chunks_max: usize,
    /// Bytes of one segment of joined small messages.
    pub segment_bytes_max: usize,
    /// Others may write into the same pipe, and the kernel keeps a write of at most so many bytes whole: no message is then
    /// joined past it, and none of at most that length is split.
    pub atomic_bytes_max: Option<u64>,
    /// Closing throws away what the peer has not read: an orderly end waits until it has.
    pub close_discards: bool,
}
