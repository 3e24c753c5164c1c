//! What a transfer comes to.

use std::fmt;
use watertight_core::Error;

/// Which end of a transfer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TransferEnd {
    /// Where the bytes go.
    Destination,
    /// Where the bytes come from.
    Source,
}

/// What a transfer came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Transferred {
    /// How many bytes went from the one end to the other.
    pub bytes: u64,
    /// How many of them never left the kernel.
    pub in_kernel: u64,
    /// The stream ended; otherwise the bound was met, and what is behind it is still in the source.
    pub has_ended: bool,
}

/// Why a transfer did not come to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TransferError {
    /// The end that failed, or that was waited for when a deadline passed; the source, if the rate held the transfer back then.
    pub end: TransferEnd,
    /// Why, and the account of that end. What is in doubt, if anything, is the destination's.
    pub error: Error,
    /// How many bytes the destination had accepted in this transfer. Its own account says what became of them.
    pub bytes: u64,
    /// Nothing moved for as long as [`idle_within`](crate::Wait::idle_within) allows; `error.kind` is
    /// [`TimedOut`](crate::ErrorKind::TimedOut) then. `false` if another deadline passed.
    pub is_idle: bool,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.end {
            TransferEnd::Destination => "destination",
            TransferEnd::Source => "source",
        };
        let idle = if self.is_idle {
            ", where nothing moved"
        } else {
            ""
        };
        write!(
            f,
            "{} (the {end} of a transfer{idle}, after {} bytes)",
            self.error, self.bytes
        )
    }
}

impl std::error::Error for TransferError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<TransferError> for Error {
    fn from(failed: TransferError) -> Self {
        failed.error
    }
}

impl From<TransferError> for std::io::Error {
    fn from(failed: TransferError) -> Self {
        failed.error.into()
    }
}
