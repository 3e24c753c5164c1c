//! What a transfer to several destinations came to, or why it did not come to its end. Plain facts: nothing here moves a byte.

use std::fmt;
use watertight_core::Error;

/// Which end of a transfer to several destinations.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TeeEnd {
    /// Where the bytes go: the destination with this index, in the order in which [`Tee::new`](crate::Tee::new) got them.
    Destination(usize),
    /// Where the bytes come from.
    Source,
}

/// How one destination stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct TeeDestination {
    /// How many bytes it accepted from this [`Tee`](crate::Tee), in all its waits. Its own account says what became of them.
    pub bytes: u64,
    /// How many of them never left the kernel.
    pub in_kernel: u64,
    /// Why it was dropped or left out, and its account then. `None`: it still counts.
    pub error: Option<Error>,
}

/// What a transfer to several destinations came to.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TeeOutcome {
    /// How many bytes this [`Tee`](crate::Tee) has taken from the source, in all its waits.
    pub bytes: u64,
    /// The stream ended; otherwise the bound was met, and what is behind it is still in the source.
    pub has_ended: bool,
    /// How each destination stands.
    pub destinations: Vec<TeeDestination>,
}

/// Why a transfer to several destinations did not come to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TeeError {
    /// The end that failed, or that was waited for when a deadline passed; the source, if the rate held the transfer back then. If no
    /// destination is left: the one that was dropped or left out last.
    pub end: TeeEnd,
    /// Why, and the account of that end.
    pub error: Error,
    /// How many bytes this [`Tee`](crate::Tee) has taken from the source, in all its waits.
    pub bytes: u64,
    /// How each destination stands. One that failed has no error here unless it was dropped.
    pub destinations: Vec<TeeDestination>,
    /// Nothing moved for as long as [`idle_within`](crate::Tee::idle_within) allows; `error.kind` is
    /// [`TimedOut`](crate::ErrorKind::TimedOut) then. `false` if another deadline passed.
    pub is_idle: bool,
}

impl fmt::Display for TeeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.destinations.len();
        let idle = if self.is_idle {
            ", where nothing moved"
        } else {
            ""
        };
        match self.end {
            TeeEnd::Destination(index) => write!(
                f,
                "{} (destination {index} of a transfer to {several}{idle}, which had accepted {} bytes)",
                self.error,
                self.destinations.get(index).map_or(0, |one| one.bytes)
            ),
            TeeEnd::Source => write!(
                f,
                "{} (the source of a transfer to {several}{idle}, after {} bytes)",
                self.error, self.bytes
            ),
        }
    }
}

impl std::error::Error for TeeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<TeeError> for Error {
    fn from(failed: TeeError) -> Self {
        failed.error
    }
}

impl From<TeeError> for std::io::Error {
    fn from(failed: TeeError) -> Self {
        failed.error.into()
    }
}
