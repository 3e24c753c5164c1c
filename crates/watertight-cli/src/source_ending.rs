//! How a copy's source ended.

/// How the source ended.
#[derive(Debug, Default)]
pub(crate) struct SourceEnding {
    /// The end of the stream was reached.
    pub(crate) ended: bool,
    /// As many bytes as wanted were read, and none behind them was taken.
    pub(crate) limit_reached: bool,
    /// Why reading failed, if it did.
    pub(crate) error: Option<String>,
    /// It became shorter while it was read; that is the error.
    pub(crate) shrank: bool,
    /// How many bytes it had left at the start, if it is something that has a size.
    pub(crate) size_at_start: Option<u64>,
    /// The hash of all data.
    pub(crate) hash: Option<[u8; 32]>,
    /// Bytes that were read and are no data: the seal's.
    pub(crate) seal_bytes: u64,
    /// Bytes that the system handed over and that nobody took, because reading was stopped.
    pub(crate) untaken: u64,
    /// It was not read to its end because its one destination takes no more.
    pub(crate) is_destination_over: bool,
}
